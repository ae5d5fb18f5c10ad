import { ServerConnection } from '@jupyterlab/services';

import type { IServer } from '../server';

/** The server that JupyterLab talks to. */
export function labServer(): IServer {
  const settings = ServerConnection.makeSettings();
  return { wsUrl: settings.wsUrl, token: settings.appendToken ? settings.token : '' };
}
