import { UntilMarker } from "./until_marker.ts";

/**
 * Passes on what stands before a marker in a stream, as it comes, and stops reading there.
 *
 * @param stream the bytes
 * @param marker what ends them
 * @param hear is given each chunk
 */
export async function relay(
  stream: ReadableStream<Uint8Array>,
  marker: string,
  hear: (chunk: Uint8Array) => void,
): Promise<void> {
  const until = new UntilMarker(marker);
  const reader = stream.getReader();
  while (true) {
    const { value, done } = await reader.read();
    if (done) return;
    const { bytes, ended } = until.push(value);
    if (bytes.length > 0) hear(bytes);
    if (ended) return;
  }
}

/** All chunks in one array. */
export function joined(chunks: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    all.set(chunk, offset);
    offset += chunk.length;
  }
  return all;
}
