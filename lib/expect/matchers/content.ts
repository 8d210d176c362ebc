import { contentBytes, type MemoryContent } from "../../machine/memory/address_space.ts";
import { bytesDifference, type Difference, textDifference } from "../difference.ts";

/**
 * What a test expects beside what there is, in the form that the test chose: text where it gave text, else
 * bytes.
 */
export function contentDifference(expected: MemoryContent, received: Uint8Array): Difference {
  if (typeof expected !== "string") return bytesDifference(contentBytes(expected), received);
  return textDifference(expected, new TextDecoder().decode(received));
}
