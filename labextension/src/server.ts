/** Where a page reaches the engine of its own Jupyter server. */
export interface IServer {
  /** The server's base URL for WebSockets, ending in a slash. */
  wsUrl: string;
  /** Empty where the page's own cookie authenticates. */
  token: string;
}

/** The server that served this page, if it is Jupyter's: its settings lie in a script element. */
export function pageServer(page: Document = document): IServer | null {
  const text = page.getElementById('jupyter-config-data')?.textContent;
  if (!text) {
    return null;
  }
  let config: Record<string, unknown>;
  try {
    config = JSON.parse(text) as Record<string, unknown>;
  } catch {
    return null;
  }
  const base = setting(config, 'wsUrl') || setting(config, 'baseUrl');
  if (!base) {
    return null;
  }
  const url = new URL(base, page.location.href);
  url.protocol = url.protocol.replace('http', 'ws');
  if (!url.pathname.endsWith('/')) {
    url.pathname += '/';
  }
  // A cookie reaches the page's own host only; elsewhere the token must go along, as in JupyterLab itself.
  const token = url.host === page.location.host ? '' : setting(config, 'token');
  return { wsUrl: url.href, token };
}

/** What this page is called to the server, which is fair between clients and bounds each of them. */
const CLIENT = newId() + newId();

/** The address of the native WebSocket. */
export function streamAddress(server: IServer): string {
  const url = new URL('streaminfer/ws', server.wsUrl);
  url.searchParams.set('client', CLIENT);
  if (server.token) {
    url.searchParams.set('token', server.token);
  }
  return url.href;
}

/** A name that nothing else is likely to have. */
export function newId(): string {
  return Math.random().toString(36).slice(2);
}

function setting(config: Record<string, unknown>, name: string): string {
  const value = config[name];
  return typeof value === 'string' ? value : '';
}
