import type { IMetricsSource } from '../metrics/source';

/** What all panels on one source show: of which model, and of how long. */
export class Scope {
  /** Its name; null for all together. */
  get model(): string | null {
    return this._model;
  }

  get seconds(): number {
    return this._seconds;
  }

  set(change: { model?: string | null; seconds?: number }): void {
    this._model = change.model === undefined ? this._model : change.model;
    this._seconds = change.seconds ?? this._seconds;
    this._followers.forEach(follower => {
      follower();
    });
  }

  /** Call `changed` after each change; returns what ends that. */
  follow(changed: () => void): () => void {
    this._followers.add(changed);
    return () => {
      this._followers.delete(changed);
    };
  }

  private _model: string | null = null;
  private _seconds = 300;
  private readonly _followers = new Set<() => void>();
}

const scopes = new WeakMap<IMetricsSource, Scope>();

/** The one scope of all panels on a source, wherever they are laid out. */
export function scopeOf(source: IMetricsSource): Scope {
  const scope = scopes.get(source) ?? new Scope();
  scopes.set(source, scope);
  return scope;
}
