import type { WeightSpan } from "../onnx/graph.ts";

/**
 * Some rows of a matrix, where they lie: rows follow each other in the file, in any storage.
 *
 * @param span shape [out, ...], `first + count` at most out
 */
export function rowsOf(span: WeightSpan, first: number, count: number): WeightSpan {
  const [rows, ...rest] = span.shape as [number, ...number[]];
  const rowBytes = span.byteLength / rows;
  const { scale, blocks } = span;
  return {
    ...span,
    shape: [count, ...rest],
    offset: span.offset + first * rowBytes,
    byteLength: count * rowBytes,
    // One scale is every row's.
    ...(scale === undefined || scale.shape.length === 0
      ? {}
      : { scale: rowsOf(scale, first, count) }),
    ...(blocks === undefined
      ? {}
      : {
          blocks: {
            ...blocks,
            scales: rowsOf(blocks.scales, first, count),
            ...(blocks.offsets === undefined
              ? {}
              : { offsets: rowsOf(blocks.offsets, first, count) }),
          },
        }),
  };
}
