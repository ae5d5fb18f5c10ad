/** What anywidget gives a widget's script: the kernel's traits, a way to write them back, and messages both ways. */
export interface IWidgetModel<Traits extends object, Message extends object = never> {
  get<K extends keyof Traits>(name: K): Traits[K];
  set(changes: Partial<Traits>): void;
  save_changes(): void;
  send(content: Message): void;
  on(event: 'change' | `change:${string & keyof Traits}`, callback: () => void): void;
  on(event: 'msg:custom', callback: (content: unknown, buffers: DataView[]) => void): void;
  off(event: string, callback: (...args: never[]) => void): void;
}

export interface IRenderProps<Traits extends object, Message extends object = never> {
  model: IWidgetModel<Traits, Message>;
  el: HTMLElement;
}
