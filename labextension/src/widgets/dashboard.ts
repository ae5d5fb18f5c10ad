import 'uplot/dist/uPlot.min.css';
import '../../../style/theme.css';
import '../../../style/dashboard.css';

import { DashboardView } from '../dashboard/dashboardView';
import type { IRenderProps } from '../host/anywidget';
import { KernelSource, type KernelRequest } from '../metrics/kernelSource';
import { ServerSource } from '../metrics/serverSource';
import { pageServer } from '../server';

/** The traits of `Dashboard` in jupyter_streaminfer/widgets/dashboard.py. */
interface ITraits {
  server: boolean;
}

function render({ model, el }: IRenderProps<ITraits, KernelRequest>): () => void {
  const server = model.get('server') ? pageServer() : null;
  const source = server ? new ServerSource(server) : new KernelSource(model);
  const view = new DashboardView(el, source);
  return () => {
    view.dispose();
    source.dispose();
  };
}

export default { render };
