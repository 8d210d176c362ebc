import { FILES_FOLDER } from "./job_disk.ts";
import { ALIVE, JOB_FOLDER, STARTED } from "./init_script.ts";

/** What a run does inside, for {@link jobScript}. */
interface Job {
  /** The program and its arguments. */
  command: readonly string[];
  /** The absolute working directory inside. */
  cwd: string;
  /** All of the command's environment. */
  env: Readonly<Record<string, string>>;
  /** Absolute paths of files and folders: what is new or changed there is sent back. */
  filesOut: readonly string[];
  /** What ends standard output and error; it must not occur in them. */
  marker: string;
}

/**
 * Mounts what lies on the disk at its place: at the first folder on the way that the machine does not have itself, so
 * that few mounts make many files appear.
 */
const MERGE = `
merge() {
  local source target
  for source in "${JOB_FOLDER}${FILES_FOLDER}$1"/* "${JOB_FOLDER}${FILES_FOLDER}$1"/.[!.]*; do
    target="$1/\${source##*/}"
    if [ -L "$source" ]; then
      cp -d "$source" "$target"
    elif [ -d "$source" ]; then
      if [ -d "$target" ]; then merge "$target"; continue; fi
      mkdir "$target" && mount --bind "$source" "$target" || die "cannot mount $target"
    elif [ -e "$source" ]; then
      [ -e "$target" ] || : > "$target"
      mount --bind "$source" "$target" || die "cannot mount $target"
    fi
  done
}
`;

/** How often a machine says that it lives, by its own clock, which passes a hundred times slower on a busy host. */
const ALIVE_SECONDS = 0.5;

/** Two blocks of zeros end a tar archive; an empty one is nothing but its end. */
const EMPTY_TAR = 1024;

/**
 * The shell script that a resumed machine runs: it puts files in place, runs the command with its output on the ports
 * while it says that it lives, reports the exit code and sends back what is new; find compares whole seconds, hence the
 * one second less. Programs lie at the same addresses each time, by which emulators keep the code that they translate: of
 * two runs of Deno the second takes a quarter less. File descriptors 3 to 6 are the ports control, stdout, stderr and files.
 *
 * @param job What to run.
 */
export function jobScript(job: Job): string {
  const environment = Object.entries(job.env).map(([name, value]) => `${name}=${value}`);
  const words = ["env", "-i", ...environment, ...job.command].map(shellQuote).join(" ");
  const marker = shellQuote(job.marker);
  const cwd = shellQuote(job.cwd);
  return `${MERGE}
merge ""
mkdir -p ${cwd} ${shellQuote(job.env.HOME ?? "/tmp")}
echo 0 > /proc/sys/kernel/randomize_va_space
touch -d "@$((seconds - 1))" ${JOB_FOLDER}/start
echo ${STARTED} >&3
while echo ${ALIVE} >&3; do sleep ${ALIVE_SECONDS}; done &
alive=$!
( cd ${cwd} && exec ${words} ) < /dev/null >&4 2>&5 3>&- 6>&-
code=$?
kill $alive
printf %s ${marker} >&4
printf %s ${marker} >&5
echo "exit $code" >&3
set -f
IFS='
'
set --
for path in ${job.filesOut.map(shellQuote).join(" ")}; do
  [ -e "$path" ] && set -- "$@" $(find "\${path%/}" -type f -newer ${JOB_FOLDER}/start)
done
if [ $# -gt 0 ]; then
  tar -c -f - "$@" 2>/dev/null >&6 || die "cannot send back $*"
else
  head -c ${EMPTY_TAR} /dev/zero >&6
fi
`;
}

/**
 * A word as the POSIX shell reads it back unchanged.
 *
 * @param word Any text without a NUL.
 * @returns The word, in single quotes where it needs them.
 */
export function shellQuote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
