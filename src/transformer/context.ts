import type { GraphContext } from "../onnx/layers.ts";
import type { AdapterShape } from "./adapter.ts";

/** A transformer graph under construction, and the modules beside which adapters stand. */
export interface TransformerContext extends GraphContext {
  readonly adapted: ReadonlyMap<string, AdapterShape>;
}
