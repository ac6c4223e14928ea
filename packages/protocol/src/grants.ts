/**
 * What the permissions of a role are put together from: subjects, each with the reason why it is
 * granted, and the groups of them that several roles need.
 *
 * The names below `$JS.API` are JetStream's own: docs.nats.io, "NATS API Reference".
 */
import { BUCKETS, type BucketSpec, STREAMS, type StreamSpec } from "./stores.ts";

/** Subjects that are granted, or denied, for one reason. */
export interface Grant {
  /** Why, in the words of nats-server's configuration; none where the subjects say it themselves. */
  readonly why?: string;
  readonly subjects: readonly string[];
}

/** Subjects that need no reason. */
export const plain = (...subjects: readonly string[]): Grant => ({ subjects });
/** Subjects, and the reason why somebody has them. */
export const because = (why: string, ...subjects: readonly string[]): Grant => ({ why, subjects });
/** One list after the other under a reason of its own. */
export const group = (why: string, ...grants: readonly Grant[]): Grant => ({
  why,
  subjects: grants.flatMap(({ subjects }) => subjects),
});

/** Where whoever is called `name` hears the answers to what it asked: nobody else may listen there. */
export const inboxOf = (name: string): string => `_INBOX_${name}.>`;
/** The prefix of the `nats` command's inboxes, unless it is told another. */
export const COMMAND_INBOX = "_INBOX.>";
/** Where answers to other accounts go. */
export const ACROSS_ACCOUNTS = "_R_.>";
/** Where the server itself hears answers. */
export const SERVER_INBOX = "$SYS._INBOX.>";
/** Requests of NATS' service discovery. */
export const DISCOVERY = "$SRV.>";
/** What the server says of connections; imported from `SYS`. */
export const CONNECT_EVENTS = "$SYS.ACCOUNT.*.CONNECT";
export const DISCONNECT_EVENTS = "$SYS.ACCOUNT.*.DISCONNECT";
/** Flow control of a watch. */
export const FLOW_CONTROL = "$JS.FC.>";

/** The stream that holds a bucket's keys. */
const streamOf = (store: StreamSpec | BucketSpec): string =>
  "subjects" in store ? store.name : `KV_${store.name}`;

/** The name of every stream there is, those of buckets included. */
export const STREAM_NAMES: readonly string[] = [...STREAMS, ...BUCKETS].map(streamOf);

/** What every service does first. */
export const ENSURE_STORES: Grant = because(
  "Any service may be the first to start, so each can create what is missing and look at what is " +
    "there. None can change, empty or delete a stream.",
  "$JS.API.INFO",
  "$JS.API.STREAM.NAMES",
  "$JS.API.STREAM.INFO.*",
  ...STREAM_NAMES.map((stream) => `$JS.API.STREAM.CREATE.${stream}`),
);

/** Messages by their sequence or subject, as the leader has them. */
export const readFromLeader = (store: StreamSpec | BucketSpec): Grant =>
  plain(`$JS.API.STREAM.MSG.GET.${streamOf(store)}`);

/** Messages by their sequence or subject, as any replica has them. */
export const readFromReplica = (store: StreamSpec | BucketSpec): Grant =>
  plain(`$JS.API.DIRECT.GET.${streamOf(store)}`, `$JS.API.DIRECT.GET.${streamOf(store)}.>`);

/** Make, look at and delete consumers without a name of their own, and pull from them: a watch. */
const watch = (store: StreamSpec | BucketSpec): Grant =>
  plain(
    `$JS.API.CONSUMER.*.${streamOf(store)}`,
    `$JS.API.CONSUMER.*.${streamOf(store)}.>`,
    `$JS.API.CONSUMER.MSG.NEXT.${streamOf(store)}.*`,
  );

/** Make, look at, delete and pull from a stream's durable consumers, and settle what they deliver. */
export const consume = (stream: StreamSpec): Grant =>
  plain(
    ...watch(stream).subjects,
    `$JS.API.CONSUMER.DURABLE.CREATE.${stream.name}.*`,
    `$JS.ACK.${stream.name}.>`,
  );

/** Take a message out of a stream, by its sequence. */
export const deleteFrom = (stream: StreamSpec): Grant =>
  plain(`$JS.API.STREAM.MSG.DELETE.${stream.name}`);

/** The subjects of `of` for each store in turn. */
export const forEach = <T>(stores: readonly T[], ...of: ((store: T) => Grant)[]): Grant =>
  plain(...stores.flatMap((store) => of.flatMap((grant) => grant(store).subjects)));

/** Read stores, and follow what changes in them. */
export const readAndWatch = (why: string, stores: readonly BucketSpec[]): readonly Grant[] => [
  group(why, forEach(stores, readFromLeader, readFromReplica, watch)),
  because("Flow control of a watch.", FLOW_CONTROL),
];

/** One user of JetStream who watches: a consumer of its own, made, pulled from and deleted. */
export function ownConsumers(store: StreamSpec | BucketSpec): Grant {
  const stream = streamOf(store);
  return plain(
    `$JS.API.CONSUMER.CREATE.${stream}.>`,
    `$JS.API.CONSUMER.MSG.NEXT.${stream}.*`,
    `$JS.API.CONSUMER.DELETE.${stream}.*`,
  );
}
