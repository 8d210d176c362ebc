import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { createHash } from "node:crypto";
import type { FileIn } from "../nested/mod.ts";
import { captureDeno } from "./run_deno.ts";

interface Module {
  specifier: string;
  local?: string;
}

interface Graph {
  modules: Module[];
  npmPackages?: Record<string, { localPath?: string }>;
}

const CONFIGURATIONS = ["deno.json", "deno.jsonc", "package.json"];

/** How a configuration names the members of its workspace: Deno's key, and npm's. */
const WORKSPACE = /"workspaces?"\s*:/;

/** Deno's databases that save it from parsing modules again; those of type checks are of no use inside. */
const ANALYSIS_CACHES = ["dep_analysis_cache_v2", "node_analysis_cache_v2"];

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

/**
 * The folder that a project takes: that of the nearest configuration at or above the working directory, or of the
 * workspace around it. A configuration further out that is no workspace's is somebody else's, and so is what lies
 * beside it.
 */
export async function projectRoot(cwd: string): Promise<string> {
  let root: string | undefined;
  for (let folder = cwd;; folder = dirname(folder)) {
    for (const name of CONFIGURATIONS) {
      const text = await Deno.readTextFile(join(folder, name)).catch(() => undefined);
      if (text === undefined) continue;
      root = root === undefined || WORKSPACE.test(text) ? folder : root;
    }
    if (folder === dirname(folder)) return root ?? cwd;
  }
}

/** The file that Deno keeps a remote module in: named by the hash of the URL's path (`DENO_DIR/remote`). */
function remoteFile(denoDir: string, url: URL): string {
  const hash = createHash("sha256").update(url.pathname + url.search).digest("hex");
  const host = url.port === "" ? url.hostname : `${url.hostname}_PORT${url.port}`;
  return join(denoDir, "remote", url.protocol.replace(":", ""), host, hash);
}

/** JSR packages have their versions and their files in two documents beside the modules. */
function jsrDocuments(specifier: string): URL[] {
  const parts = /^(https:\/\/jsr\.io\/@[^/]+\/[^/]+\/)([^/]+)\//.exec(specifier);
  if (parts === null) return [];
  return [new URL(`${parts[1]}meta.json`), new URL(`${parts[1]}${parts[2]}_meta.json`)];
}

/**
 * Every file that tests need beside the project's own: local modules outside of it, and from Deno's cache the remote
 * modules, npm packages and transpiled modules, so that nothing is fetched or transpiled inside.
 *
 * @param roots URLs of the modules to start from.
 * @param cwd The working directory.
 * @param options Options of `deno info` that decide how modules are found.
 * @param denoDir Deno's cache.
 * @param signal Ends it.
 */
export async function projectFiles(
  roots: readonly URL[],
  cwd: string,
  options: readonly string[],
  denoDir: string,
  signal?: AbortSignal,
): Promise<FileIn[]> {
  const graph = await moduleGraph(roots, cwd, options, signal);
  const root = await projectRoot(cwd);
  const locals = graph.modules.filter(({ specifier }) => specifier.startsWith("file:")).map((
    { specifier },
  ) => fileURLToPath(specifier));
  const packages = Object.values(graph.npmPackages ?? {}).flatMap(({ localPath }) =>
    localPath === undefined ? [] : [localPath]
  );
  const usesNodeModules = [...locals, ...packages].some((path) => path.includes("/node_modules/"));
  const files: FileIn[] = [{
    host: root,
    exclude: (path) => {
      const name = path.slice(path.lastIndexOf("/") + 1);
      return name === ".git" || (name === "node_modules" && !usesNodeModules) ||
        join(root, path) === denoDir;
    },
  }];
  const add = (host: string): void => {
    if (!host.startsWith(`${root}/`) || host.startsWith(`${denoDir}/`)) files.push({ host });
  };
  for (const path of locals) {
    add(path);
    add(join(denoDir, "gen/file", `${path}.js`));
  }
  for (const { specifier, local } of graph.modules) {
    if (local !== undefined) add(local);
    if (!specifier.startsWith("http")) continue;
    const remote = remoteFile(denoDir, new URL(specifier));
    add(remote.replace(`${denoDir}/remote/`, `${denoDir}/gen/`) + ".js");
    for (const document of jsrDocuments(specifier)) add(remoteFile(denoDir, document));
  }
  for (const path of packages) {
    add(path);
    add(join(dirname(path), "registry.json"));
  }
  for (const name of ANALYSIS_CACHES) {
    add(join(denoDir, name));
    add(join(denoDir, `${name}-wal`));
  }
  return [...new Map(files.map((file) => [file.host, file])).values()];
}

/** The modules that the roots import, directly or not. What cannot be found is left for the tests to complain about. */
async function moduleGraph(
  roots: readonly URL[],
  cwd: string,
  options: readonly string[],
  signal?: AbortSignal,
): Promise<Graph> {
  const folder = await Deno.makeTempDir({ prefix: "vmexit-graph-" });
  try {
    const entry = join(folder, "entry.ts");
    const imports = roots.map((root) => `import ${JSON.stringify(root.href)};\n`);
    await Deno.writeTextFile(entry, imports.join(""));
    // The entry lies outside the project, where Deno would not find the project's configuration.
    const config = options.some((option) => /^(--config|-c|--no-config)(=|$)/.test(option))
      ? []
      : await configOption(cwd);
    const { code, stdout } = await captureDeno(["info", "--json", ...config, ...options, entry], {
      cwd,
      signal,
    });
    if (code !== 0) return { modules: [] };
    const graph: Graph = JSON.parse(stdout);
    graph.modules = graph.modules.filter(({ specifier }) =>
      specifier !== pathToFileURL(entry).href
    );
    return graph;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function configOption(cwd: string): Promise<string[]> {
  for (let folder = cwd;; folder = dirname(folder)) {
    for (const name of ["deno.json", "deno.jsonc"]) {
      if (await exists(join(folder, name))) return ["--config", join(folder, name)];
    }
    if (folder === dirname(folder)) return [];
  }
}
