export interface NodeRunFlags {
  readonly id: string;
  readonly slots: string;
  readonly handle?: readonly string[];
  readonly label?: readonly string[];
  readonly role: string;
  readonly drainTimeout: string;
  readonly stopWithParent?: boolean;
}
export async function runNode(call: import("./call.ts").Call<NodeRunFlags>): Promise<number> {
  void call;
  return 1;
}
