/** A source line and the bytes that it became. */
export interface SourceLine {
  /** The address of its first byte, as the guest's code refers to it. */
  readonly address: number;
  /** How many bytes it became. */
  readonly length: number;
  /** The file it stands in: a path, or the URL of a module that is no local file. */
  readonly file: string;
  /** Its line in that file, from 1. For code out of a macro: the line that called the macro. */
  readonly line: number;
  /** The NASM text, without the white space around it. For code out of a macro: the line in the macro. */
  readonly text: string;
}
