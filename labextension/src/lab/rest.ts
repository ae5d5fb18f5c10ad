import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import type { ErrorInfo } from '../protocol';

/** What the server refused, in the words that it has for people. */
export class Refusal extends Error {
  constructor(
    readonly info: ErrorInfo,
    /** The HTTP status; 0 where there was no answer. */
    readonly status: number
  ) {
    super(info.message);
  }
}

/** Ask `streaminfer/api/PATH`; the path's parts are encoded by `path`. Throws a `Refusal`. */
export async function ask<T>(path: string, method = 'GET', body?: unknown): Promise<T> {
  const settings = ServerConnection.makeSettings();
  const url = URLExt.join(settings.baseUrl, 'streaminfer/api', path);
  let response: Response;
  let text: string;
  try {
    response = await ServerConnection.makeRequest(
      url,
      { method, ...(body === undefined ? {} : { body: JSON.stringify(body) }) },
      settings
    );
    text = await response.text();
  } catch {
    throw new Refusal({ code: 'internal', message: 'The Jupyter server does not answer.', retryable: true }, 0);
  }
  if (!response.ok) {
    throw new Refusal(errorOf(text) ?? plain(response.status), response.status);
  }
  return (text ? JSON.parse(text) : null) as T;
}

/** A path of names that may hold anything. */
export function path(...parts: string[]): string {
  return parts.map(encodeURIComponent).join('/');
}

/** What went wrong, whatever was thrown. */
export function infoOf(error: unknown): ErrorInfo {
  return error instanceof Refusal ? error.info : { code: 'internal', message: String(error) };
}

function errorOf(text: string): ErrorInfo | null {
  try {
    const error = JSON.parse(text) as Partial<ErrorInfo> | null;
    return typeof error?.message === 'string' && error.code
      ? { ...error, code: error.code, message: error.message }
      : null;
  } catch {
    return null; // A proxy's page, or nothing.
  }
}

function plain(status: number): ErrorInfo {
  return { code: 'internal', message: `The Jupyter server answered with status ${status}.` };
}
