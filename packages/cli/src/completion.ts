/** Completion scripts, made from the tree of commands: they know what `--help` knows. */
import type { Command, Option } from "commander";

/** One command, with what may follow it. */
interface Entry {
  /** `task submit`; empty for the program. */
  readonly path: string;
  readonly words: readonly { readonly word: string; readonly description: string }[];
}

/** A script for `bash`, `zsh` or `fish`. */
export function completionScript(shell: string, program: Command): string {
  const entries = entriesOf(program, []);
  switch (shell) {
    case "zsh":
      return zsh(program.name(), entries);
    case "fish":
      return fish(program.name(), entries);
    default:
      return bash(program.name(), entries);
  }
}

function entriesOf(command: Command, path: readonly string[]): readonly Entry[] {
  const commands = command.commands.map((child) => ({
    word: child.name(),
    description: child.description(),
  }));
  const options = optionsOf(command).map((option) => ({
    word: option.long ?? option.flags,
    description: option.description,
  }));
  const own = { path: path.join(" "), words: [...commands, ...options] };
  const below = command.commands.flatMap((child) => entriesOf(child, [...path, child.name()]));
  return [own, ...below];
}

/** The command's own flags and, since they may stand anywhere, the global ones. */
function optionsOf(command: Command): readonly Option[] {
  const options = [...command.options];
  for (let at = command.parent; at !== null; at = at.parent) options.push(...at.options);
  const seen = new Set<string>();
  return options.filter((option) => {
    const name = option.long ?? option.flags;
    const shown = !seen.has(name) && !(option.hidden && isOnlyHidden(command, name));
    seen.add(name);
    return shown;
  });
}

/** Global flags are hidden at a command, because the program shows them. */
function isOnlyHidden(command: Command, long: string): boolean {
  for (let at = command.parent; at !== null; at = at.parent) {
    if (at.options.some((option) => option.long === long && !option.hidden)) return false;
  }
  return true;
}

/** Finds the longest path of commands in what was typed; what may follow it is offered. */
function findPath(shell: { readonly first: number; readonly end: string; readonly words: string }) {
  return `  local at="" word i
  for ((i = ${shell.first}; i < ${shell.end}; i++)); do
    word="\${${shell.words}[i]}"
    case "$word" in -*) continue ;; esac
    case " $known " in *" \${at:+$at/}$word "*) at="\${at:+$at/}$word" ;; esac
  done`;
}

function knownPaths(entries: readonly Entry[]): string {
  return entries.flatMap(({ path }) => (path === "" ? [] : [path.replaceAll(" ", "/")])).join(" ");
}

function cases(entries: readonly Entry[], lineOf: (entry: Entry) => string): string {
  return entries
    .map((entry) => `    "${entry.path.replaceAll(" ", "/")}") ${lineOf(entry)} ;;`)
    .join("\n");
}

function bash(name: string, entries: readonly Entry[]): string {
  const words = ({ words }: Entry): string => `words="${words.map(({ word }) => word).join(" ")}"`;
  return `# bash completion for ${name}: source <(${name} completion bash)
_${name}() {
  local known="${knownPaths(entries)}" words=""
${findPath({ first: 1, end: "COMP_CWORD", words: "COMP_WORDS" })}
  case "$at" in
${cases(entries, words)}
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _${name} ${name}
`;
}

function zsh(name: string, entries: readonly Entry[]): string {
  const describe = ({ words }: Entry): string =>
    `offers=(${words.map(({ word, description }) => single(`${word}:${description}`)).join(" ")})`;
  return `#compdef ${name}
_${name}() {
  local known="${knownPaths(entries)}"
  local -a offers
${findPath({ first: 2, end: "CURRENT", words: "words" })}
  case "$at" in
${cases(entries, describe)}
  esac
  _describe -t commands ${name} offers || _files
}
compdef _${name} ${name}
`;
}

function fish(name: string, entries: readonly Entry[]): string {
  const lines = entries.flatMap(({ path, words }) => {
    const parts = path === "" ? [] : path.split(" ");
    const children = words.filter(({ word }) => !word.startsWith("-")).map(({ word }) => word);
    const seen = parts.map((part) => `__fish_seen_subcommand_from ${part}`);
    const notYet =
      children.length === 0 ? [] : [`not __fish_seen_subcommand_from ${children.join(" ")}`];
    const condition = [...seen, ...notYet].join("; and ");
    return words.map(({ word, description }) => {
      const what = word.startsWith("--") ? `-l ${word.slice(2)}` : `-f -a ${word}`;
      const when = condition === "" ? "" : ` -n ${single(condition)}`;
      return `complete -c ${name}${when} ${what} -d ${single(description)}`;
    });
  });
  return `# fish completion for ${name}\n${lines.join("\n")}\n`;
}

function single(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
