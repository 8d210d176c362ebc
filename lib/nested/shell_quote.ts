/**
 * A word as the POSIX shell reads it back unchanged.
 *
 * @param word any text without a NUL
 * @returns the word, in single quotes where it needs them
 */
export function shellQuote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
