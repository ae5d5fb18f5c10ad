import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { Widget } from '@lumino/widgets';

import { MIME_TYPE, readBundle, writeBundle } from '../stream/bundle';
import { TokenStreamController } from '../stream/controller';
import { labServer } from './labServer';

/** A token stream in an output. It needs no kernel: only the server that the page came from. */
class StreamRenderer extends Widget implements IRenderMime.IRenderer {
  constructor() {
    super();
    this.addClass('jp-TokenStream-output');
    this._controller = new TokenStreamController(this.node, {
      server: labServer(),
      changed: snapshot => {
        this._model?.setData(writeBundle(snapshot));
      }
    });
  }

  renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    this._model = model;
    this._controller.show(readBundle(model));
    return Promise.resolve();
  }

  override dispose(): void {
    this._controller.dispose();
    super.dispose();
  }

  private readonly _controller: TokenStreamController;
  private _model: IRenderMime.IMimeModel | null = null;
}

const extension: IRenderMime.IExtension = {
  id: 'jupyter-streaminfer:stream',
  description: 'Shows a token stream of jupyter_streaminfer, live from the server.',
  rendererFactory: {
    // Model output becomes text nodes and nothing else, so an untrusted notebook may be shown as well.
    safe: true,
    mimeTypes: [MIME_TYPE],
    createRenderer: () => new StreamRenderer()
  },
  // Lower is preferred: the widget view of the same bundle has -10.
  rank: -20,
  dataType: 'json'
};

export default extension;
