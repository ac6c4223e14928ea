export { type Answer, ask } from "./ask.ts";
export {
  type AuditAnchor,
  type AuditLine,
  type AuditProblem,
  type AuditVerdict,
  AuditVerifier,
  sealEntry,
} from "./audit-chain.ts";
export { AuditQueue } from "./audit-queue.ts";
export { AuditError, AuditTrail, askerOf } from "./audit-trail.ts";
export {
  API_TIMEOUT_MS,
  ASK_AGAIN_MS,
  Bucket,
  bucketStream,
  type Entry,
  expecting,
  isMarker,
  openManager,
} from "./bucket.ts";
export {
  type ConnectOptions,
  openConnection,
  shownServer,
  watchForgetting,
  watchLink,
} from "./connect.ts";
export {
  atLeast,
  driftOf,
  ensureStores,
  isNoConsumer,
  isPassing,
  SERVER_VERSION_MIN,
  StoreMismatchError,
  type WantedStore,
  wantedStores,
} from "./ensure.ts";
export { type HeaderEntry, headerBlock } from "./header-block.ts";
export { Lease, type LeaseOptions, type RenewResult } from "./lease.ts";
export { type ListenOptions, listen } from "./listen.ts";
export { auditRefusals, type Identity, leaseRenewals, meterIdentity, meterLink } from "./meters.ts";
export { nativePrivateKey, nativePublicKey } from "./native-keys.ts";
export {
  REQUEST_TIMEOUT_MS,
  type Reply,
  Requester,
  type SendOptions,
  type Stored,
} from "./requester.ts";
export { goodHeaders, quickHeaders, type ReadHeaders, sentHeaders } from "./sent-headers.ts";
export {
  answer,
  answering,
  type Endpoint,
  type Handle,
  RefusedError,
  type ServeOptions,
  serve,
} from "./serve.ts";
export { BadKeyError, isSameKey, SigningKey, VerifyingKey } from "./signing.ts";
export {
  isThisMachine,
  type Protection,
  protectionFrom,
  TlsError,
  type TlsErrorCode,
  type TlsFiles,
} from "./tls.ts";
export {
  endSpan,
  isSampled,
  type Span,
  SpanKind,
  startSpan,
  traceparentOf,
  withSpan,
} from "./tracing.ts";

export { BucketView, type BucketViewOptions, type Change } from "./view.ts";
