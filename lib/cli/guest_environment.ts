/** The choice has been made: what is a nested machine to us is the command's own machine. */
const CHOICE = "VMEXIT_KVM";

/** Variables that a command finds inside a nested machine as on the host. */
const PASSED = /^(VMEXIT_.*|NO_COLOR|FORCE_COLOR|CI|DENO_DIR|XDG_CACHE_HOME|TZ|LANG)$/;

/**
 * The environment that a nested command gets: what concerns vmexit and the look of its output.
 *
 * @param host the host's environment
 * @param terminal whether the output goes to a terminal; inside it goes to a port, where Deno would show no colours
 */
export function guestEnvironment(
  host: Readonly<Record<string, string>>,
  terminal: boolean,
): Record<string, string> {
  const passed = Object.fromEntries(
    Object.entries(host).filter(([name]) => PASSED.test(name) && name !== CHOICE),
  );
  const coloured = terminal && passed.NO_COLOR === undefined;
  return coloured ? { FORCE_COLOR: "1", ...passed } : passed;
}
