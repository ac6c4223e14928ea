import { Option } from "commander";

/** A flag that processes of ours pass to each other, and no help shows. */
export function hidden(flags: string): Option {
  return new Option(flags).hideHelp();
}
