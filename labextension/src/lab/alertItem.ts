import type { Alert } from '../protocol';
import { element } from '../view';
import type { IItem } from './itemList';

/** An alert that fires. */
export class AlertItem implements IItem<Alert> {
  readonly node = element('li', 'jp-StreaminferAlert');

  show(alert: Alert): void {
    if (this.node.textContent !== alert.message) {
      this.node.textContent = alert.message;
    }
    this.node.title = alert.name;
  }
}
