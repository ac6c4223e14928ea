/** The commands in a block of shell, word by word, as far as telling what is called with what. */

/** One simple command: its words without quotes, assignments and redirections. */
export type Command = readonly string[];

const OPERATOR = /^(?:\|\||&&|\||;|&|\(|\)|\n|\{(?=\s)|\}(?=\s|$))/;
const REDIRECTION = /^\d?(?:>>|>|<)(?:&\d)?/;
const ASSIGNMENT = /^\w+=/;
/** What stands before a command and is none. */
const PREFIXES = ["npx", "sudo", "exec", "time", "nice", "if", "then", "while", "do", "!"];

/** Every simple command of a script, those within `$(…)` included. */
export function commandsOf(script: string): readonly Command[] {
  const inner = [...script.matchAll(/\$\(((?:[^()]|\([^()]*\))*)\)/g)].flatMap(([, text = ""]) =>
    commandsOf(text),
  );
  const commands: string[][] = [[]];
  let rest = script.replace(/\\\n/g, " ").replace(/\$\((?:[^()]|\([^()]*\))*\)/g, "0");
  while (rest !== "") {
    const skipped = /^(?:[ \t]+|#.*)/.exec(rest)?.[0];
    const operator = OPERATOR.exec(rest)?.[0];
    if (skipped !== undefined) rest = rest.slice(skipped.length);
    else if (operator !== undefined) {
      commands.push([]);
      rest = rest.slice(operator.length);
    } else {
      const { word, length, redirection } = wordOf(rest);
      rest = rest.slice(length);
      if (!redirection) commands.at(-1)?.push(word);
    }
  }
  return [...commands.map(withoutPrefixes).filter((words) => words.length > 0), ...inner];
}

/** The next word, and how much of the text it takes; a redirection takes its target along. */
function wordOf(text: string): {
  readonly word: string;
  readonly length: number;
  readonly redirection: boolean;
} {
  const redirection = REDIRECTION.exec(text)?.[0];
  if (redirection !== undefined) {
    if (redirection.includes("&"))
      return { word: "", length: redirection.length, redirection: true };
    const space = /^[ \t]*/.exec(text.slice(redirection.length))?.[0].length ?? 0;
    const target = wordOf(text.slice(redirection.length + space));
    return { word: "", length: redirection.length + space + target.length, redirection: true };
  }
  const raw =
    /^(?:"(?:[^"\\]|\\.)*"|'[^']*'|\\.|[^\s;&|()<>"'\\])+/.exec(text)?.[0] ?? text[0] ?? "";
  const word = raw.replace(/"((?:[^"\\]|\\.)*)"|'([^']*)'|\\(.)/g, "$1$2$3");
  return { word, length: raw.length, redirection: false };
}

function withoutPrefixes(words: readonly string[]): Command {
  const start = words.findIndex((word) => !ASSIGNMENT.test(word) && !PREFIXES.includes(word));
  return start < 0 ? [] : words.slice(start);
}
