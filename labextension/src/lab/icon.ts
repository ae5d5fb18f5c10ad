import { LabIcon } from '@jupyterlab/ui-components';

/** A stream of tokens: what our tabs, tiles and commands go by. */
export const streaminferIcon = new LabIcon({
  name: 'jupyter-streaminfer:icon',
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">
  <g class="jp-icon3" fill="#616161">
    <rect x="2" y="4" width="9" height="3.4" rx="1.7"/>
    <rect x="13" y="4" width="5" height="3.4" rx="1.7"/>
    <rect x="2" y="10.3" width="4" height="3.4" rx="1.7"/>
    <rect x="8" y="10.3" width="12" height="3.4" rx="1.7"/>
    <rect x="2" y="16.6" width="7" height="3.4" rx="1.7"/>
    <path d="M12.5 15.4 L20 18.3 L12.5 21.2 Z"/>
  </g>
</svg>`
});

/** A chart: the dashboard. */
export const dashboardIcon = new LabIcon({
  name: 'jupyter-streaminfer:dashboard',
  svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">
  <g class="jp-icon3" fill="#616161">
    <path d="M3 3h2v16h16v2H3z"/>
    <path d="M7 16.2 L11 9.6 L14.5 13 L19.4 5.4 L21 6.5 L14.9 16.2 L11.4 12.8 L8.6 17.2 Z"/>
  </g>
</svg>`
});
