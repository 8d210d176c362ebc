/** Text in HTML. */
export function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}

/** JSON in a script, in which no element ends or begins. */
export function inScript(json: string): string {
  return json.replaceAll("<", "\\u003c");
}
