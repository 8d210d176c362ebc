import type { ImageInit } from "./image_init.ts";

/** What an image is made of, at other addresses: `distance` is added to each. Its bytes are the same. */
export function moved(image: ImageInit, distance: bigint): ImageInit {
  const { segments, origin, entry, labels = {}, lines, debug } = image;
  return {
    ...image,
    segments: segments.map((segment) => ({
      ...segment,
      address: segment.address + distance,
      ...segment.loadAddress === undefined ? {} : { loadAddress: segment.loadAddress + distance },
    })),
    ...origin === undefined ? {} : { origin: origin + distance },
    ...entry === undefined ? {} : { entry: entry + distance },
    labels: Object.fromEntries(
      Object.entries(labels).map(([name, address]) => [name, address + distance]),
    ),
    lines: () =>
      (typeof lines === "function" ? lines() : lines ?? [])
        .map((line) => ({ ...line, address: line.address + distance })),
    ...debug === undefined ? {} : { debug: { ...debug, base: debug.base + distance } },
  };
}
