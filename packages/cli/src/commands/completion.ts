import { Argument, type Command } from "commander";
import type { Declare } from "../call.ts";

const EXAMPLES = `
Examples:
  $ source <(swarmctl completion bash)
  $ swarmctl completion zsh > "\${fpath[1]}/_swarmctl"
  $ swarmctl completion fish > ~/.config/fish/completions/swarmctl.fish
`;

export function addCompletionCommand(program: Command, declare: Declare): void {
  const completion = program
    .command("completion")
    .addArgument(new Argument("<shell>", "your shell").choices(["bash", "zsh", "fish"]))
    .description("print a script that completes commands and flags in your shell")
    .addHelpText("after", EXAMPLES);
  declare(completion, async (call) => {
    const { completionScript } = await import("../completion.ts");
    call.io.out(completionScript(call.args[0] ?? "", program));
  });
}
