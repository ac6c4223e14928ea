/** Dark or light: as the system has it, until someone says otherwise. */
import { signal } from "@preact/signals";

export type Theme = "system" | "light" | "dark";

const STORED = "swarm-mesh-theme";
const NEXT: Readonly<Record<Theme, Theme>> = { system: "light", light: "dark", dark: "system" };

function kept(): Theme {
  const value = localStorage.getItem(STORED);
  return value === "light" || value === "dark" ? value : "system";
}

/** What was chosen. It also changes when the system's own does, so that charts draw anew. */
export const theme = signal({ chosen: kept() });

function apply(): void {
  document.documentElement.dataset["theme"] = theme.value.chosen;
}

/** The next one of system, light and dark. */
export function nextTheme(): void {
  theme.value = { chosen: NEXT[theme.value.chosen] };
  localStorage.setItem(STORED, theme.value.chosen);
  apply();
}

apply();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  theme.value = { ...theme.value };
});
