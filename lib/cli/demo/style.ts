/** How parts of the demo's text are set off from the rest. */
export interface Style {
  /** A heading. */
  readonly strong: (text: string) => string;
  /** What need not be read. */
  readonly faint: (text: string) => string;
  /** What is as it must be. */
  readonly good: (text: string) => string;
  /** What is not. */
  readonly bad: (text: string) => string;
}

const RESET = 0;
const SELECT_GRAPHIC_RENDITION = { strong: 1, faint: 2, good: 32, bad: 31 } as const;

/**
 * The style for a terminal, by escape sequences (ECMA-48, SGR), or, for a file or a pipe, the one that leaves text as
 * it is.
 */
export function style(colours: boolean): Style {
  const set = (code: number) => (text: string) =>
    colours ? `\x1b[${code}m${text}\x1b[${RESET}m` : text;
  return {
    strong: set(SELECT_GRAPHIC_RENDITION.strong),
    faint: set(SELECT_GRAPHIC_RENDITION.faint),
    good: set(SELECT_GRAPHIC_RENDITION.good),
    bad: set(SELECT_GRAPHIC_RENDITION.bad),
  };
}
