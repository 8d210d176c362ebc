import { capture, type Captured, findProgram } from "./host_program.ts";
import { NestedError } from "./nested_error.ts";

/** Says one short line about what happens. */
export type ProgressListener = (line: string) => void;

const APT_OPTIONS: readonly string[] = ["-o", "DPkg::Lock::Timeout=120", "-qq"];
const NO_RECOMMENDS = "--no-install-recommends";

const LINES_SHOWN = 3;

/** The end of what a program complains of at length. */
function lastLines(text: string): string {
  return text.trim().split("\n").slice(-LINES_SHOWN).join("\n");
}

/** How to become root: the words before the command. `undefined` when there is no way. */
async function rootPrefix(): Promise<string[] | undefined> {
  if (Deno.uid() === 0) return [];
  const sudo = await findProgram("sudo");
  if (sudo === undefined) return undefined;
  if (Deno.stdin.isTerminal()) return [sudo];
  return (await capture(sudo, ["-n", "true"])).code === 0 ? [sudo, "-n"] : undefined;
}

async function asRoot(
  prefix: readonly string[],
  command: readonly string[],
  signal?: AbortSignal,
): Promise<Captured> {
  // Through env, because sudo drops the caller's environment.
  const words = [...prefix, "env", "DEBIAN_FRONTEND=noninteractive", ...command];
  return await capture(words[0], words.slice(1), { signal });
}

/** A command as a person types it: through sudo where there is one, else with root's password. */
async function typedAsRoot(command: string): Promise<string> {
  if (Deno.uid() === 0) return command;
  return await findProgram("sudo") === undefined
    ? `su - -c '${command}'`
    : `sudo sh -c '${command}'`;
}

/** The command that a person types to install packages. */
export async function installCommand(packages: readonly string[]): Promise<string> {
  return await typedAsRoot(
    `apt-get update && apt-get install -y ${NO_RECOMMENDS} ${packages.join(" ")}`,
  );
}

async function requireApt(packages: readonly string[], why: string): Promise<string> {
  const apt = await findProgram("apt-get");
  if (apt !== undefined) return apt;
  throw new NestedError(
    `Cannot install ${packages.join(", ")} (${why}): this system has no apt-get. ` +
      `Install it with your package manager, or on Debian or Ubuntu type: ${await installCommand(
        packages,
      )}`,
  );
}

/**
 * Installs Debian packages with apt-get, as root or through sudo, and says so before it does. The package lists are
 * refreshed only when the first try fails.
 *
 * @param packages Names of the packages.
 * @param why What they are for, in a few words.
 * @param onProgress Is told what is about to be installed.
 * @param signal Ends the installation.
 * @throws {NestedError} With the exact command to type, when there is no apt-get, no root and no sudo, or apt-get
 *   fails.
 */
export async function installPackages(
  packages: readonly string[],
  why: string,
  onProgress: ProgressListener,
  signal?: AbortSignal,
): Promise<void> {
  const apt = await requireApt(packages, why);
  const prefix = await rootPrefix();
  if (prefix === undefined) {
    throw new NestedError(
      `Cannot install ${packages.join(", ")} (${why}) without root. Type: ${await installCommand(
        packages,
      )}`,
    );
  }
  onProgress(`installing ${packages.join(", ")} with apt-get (${why})`);
  const install = [apt, ...APT_OPTIONS, "install", "-y", NO_RECOMMENDS, ...packages];
  let result = await asRoot(prefix, install, signal);
  if (result.code !== 0) {
    onProgress("refreshing the package lists with apt-get update");
    await asRoot(prefix, [apt, ...APT_OPTIONS, "update"], signal);
    result = await asRoot(prefix, install, signal);
  }
  if (result.code !== 0) {
    throw new NestedError(
      `apt-get could not install ${
        packages.join(", ")
      } (${why}). Try it by hand: ${await installCommand(
        packages,
      )}\n${result.stderr.trim()}`,
    );
  }
}

/**
 * The packages that `find` names, downloaded with apt-get and unpacked into a folder. No root is needed, unless the
 * package lists are missing or stale.
 *
 * @param find Names the packages from the package lists; `undefined` when the lists do not know them.
 * @param folder Where their files are put, as if it were `/`.
 * @param what What is fetched, for messages.
 * @param onProgress Is told what is about to be downloaded.
 * @param signal Ends the download.
 * @returns The packages' names.
 * @throws {NestedError} With the command to type, when they cannot be found or downloaded.
 */
export async function unpackPackages(
  find: () => Promise<string[] | undefined>,
  folder: string,
  what: string,
  onProgress: ProgressListener,
  signal?: AbortSignal,
): Promise<string[]> {
  const apt = await requireApt([what], "to be unpacked into the cache");
  const downloads = await Deno.makeTempDir({ prefix: "vmexit-packages-" });
  try {
    let failure = "the package lists do not know them";
    const attempt = async (): Promise<string[] | undefined> => {
      const packages = await find();
      if (packages === undefined) return undefined;
      onProgress(`downloading ${packages.join(", ")}`);
      // The sandbox user of apt cannot write into our folder, and says so at length.
      const user = Deno.uid() === 0 ? ["-o", "APT::Sandbox::User=root"] : [];
      const result = await capture(apt, [...APT_OPTIONS, ...user, "download", ...packages], {
        cwd: downloads,
        signal,
      });
      failure = result.stderr.trim();
      return result.code === 0 ? packages : undefined;
    };
    let packages = await attempt();
    if (packages === undefined) {
      const prefix = await rootPrefix();
      if (prefix !== undefined) {
        onProgress("refreshing the package lists with apt-get update");
        const update = await asRoot(prefix, [apt, ...APT_OPTIONS, "update"], signal);
        if (update.code !== 0) failure = update.stderr.trim();
        packages = await attempt();
      }
    }
    if (packages === undefined) {
      throw new NestedError(
        `Cannot download ${what} with apt-get: ${failure}. ` +
          `Check the network, type: ${await typedAsRoot("apt-get update")}, and try again`,
      );
    }
    const unpack = await findProgram("dpkg-deb");
    if (unpack === undefined) throw new NestedError("Cannot unpack packages: dpkg-deb is missing");
    for await (const entry of Deno.readDir(downloads)) {
      const { code, stderr } = await capture(unpack, ["-x", `${downloads}/${entry.name}`, folder]);
      if (code !== 0) {
        throw new NestedError(
          `Cannot unpack ${entry.name} (is ${folder} on a full disk?): ${lastLines(stderr)}`,
        );
      }
    }
    return packages;
  } finally {
    await Deno.remove(downloads, { recursive: true });
  }
}
