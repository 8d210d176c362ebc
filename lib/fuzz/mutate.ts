import type { SplitMix32 } from "../x86/split_mix.ts";

/** What mutations take bytes from. */
export interface MutationSources {
  /** Longest input. */
  readonly maxLength: number;
  /** Words that mean something to the guest. */
  readonly dictionary: readonly Uint8Array[];
  /** Another input, for a splice. */
  other(): Uint8Array;
}

/** The most changes that one mutation makes. */
const MOST_CHANGES = 4;
/** What is added or taken away at most, as AFL's arithmetic does. */
const MOST_ARITHMETIC = 35;
/** Bytes at the edges of what code compares with. */
const INTERESTING = [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff];
const BYTE_VALUES = 256;
const BITS = 8;

type Change = (input: Uint8Array, random: SplitMix32, from: MutationSources) => Uint8Array;

function pick<Each>(random: SplitMix32, all: readonly Each[]): Each {
  return all[random.below(all.length)];
}

/** `insert` in place of `removed` bytes at `at`. */
function spliced(input: Uint8Array, at: number, removed: number, insert: Uint8Array): Uint8Array {
  const result = new Uint8Array(input.length - removed + insert.length);
  result.set(input.subarray(0, at));
  result.set(insert, at);
  result.set(input.subarray(at + removed), at + insert.length);
  return result;
}

/** One byte becomes another; an empty input stays as it is. */
function onByte(change: (byte: number, random: SplitMix32) => number): Change {
  return (input, random) => {
    if (input.length === 0) return input;
    const result = input.slice();
    const at = random.below(input.length);
    result[at] = change(input[at], random);
    return result;
  };
}

/** A word of the dictionary, written over what is there or put in between. */
function withWord(isInserted: boolean): Change {
  return (input, random, { dictionary }) => {
    if (dictionary.length === 0) return input;
    const word = pick(random, dictionary);
    const at = random.below(input.length + 1);
    return spliced(input, at, isInserted ? 0 : Math.min(word.length, input.length - at), word);
  };
}

const CHANGES: readonly Change[] = [
  onByte((byte, random) => byte ^ 1 << random.below(BITS)),
  onByte((_, random) => random.below(BYTE_VALUES)),
  onByte((_, random) => pick(random, INTERESTING)),
  onByte((byte, random) => byte + random.below(2 * MOST_ARITHMETIC + 1) - MOST_ARITHMETIC),
  (input, random) =>
    spliced(input, random.below(input.length + 1), 0, new Uint8Array([random.below(BYTE_VALUES)])),
  (input, random) => {
    const at = random.below(input.length + 1);
    return spliced(input, at, random.below(input.length - at + 1), new Uint8Array());
  },
  (input, random) => {
    const at = random.below(input.length + 1);
    const length = random.below(input.length - at + 1);
    return spliced(input, random.below(input.length + 1), 0, input.slice(at, at + length));
  },
  (input, random, from) => {
    const other = from.other();
    const head = input.subarray(0, random.below(input.length + 1));
    return spliced(head, head.length, 0, other.subarray(random.below(other.length + 1)));
  },
  withWord(true),
  withWord(false),
];

/** Another input that is like one: some changes of bytes, words and pieces, by chance. */
export function mutate(
  input: Uint8Array,
  random: SplitMix32,
  from: MutationSources,
): Uint8Array<ArrayBuffer> {
  let result = input;
  for (let count = 1 + random.below(MOST_CHANGES); count > 0; count--) {
    result = pick(random, CHANGES)(result, random, from);
  }
  return new Uint8Array(result.subarray(0, from.maxLength));
}

/**
 * The smallest input that still `fails`, as far as cutting pieces away and setting bytes to zero leads.
 *
 * @param attempts How often `fails` may be asked.
 */
export function minimise(
  input: Uint8Array<ArrayBuffer>,
  fails: (input: Uint8Array<ArrayBuffer>) => boolean,
  attempts: number,
): Uint8Array<ArrayBuffer> {
  let smallest = input;
  let left = attempts;
  const take = (candidate: Uint8Array<ArrayBuffer>) => {
    if (left-- <= 0 || !fails(candidate)) return false;
    smallest = candidate;
    return true;
  };
  for (let piece = input.length; piece >= 1; piece = Math.floor(piece / 2)) {
    for (let at = 0; at < smallest.length;) {
      const removed = Math.min(piece, smallest.length - at);
      const candidate = new Uint8Array(spliced(smallest, at, removed, new Uint8Array()));
      if (!take(candidate)) at += piece;
    }
  }
  for (let at = 0; at < smallest.length; at++) {
    if (smallest[at] === 0) continue;
    const candidate = smallest.slice();
    candidate[at] = 0;
    take(candidate);
  }
  return smallest;
}
