//! Every bound on what comes in or is kept, by name. A limit that is not here does not exist.

/// Bytes of a stored value (sled puts larger leaves into never-synced blob files).
pub const VALUE_BYTES_MAX: usize = 7_000;
/// Bytes of a row's key; the longest is an allowance's with 49.
pub const KEY_BYTES_MAX: usize = 64;
/// Rows that one round may write.
pub const ROUND_ROWS_MAX: usize = 4_096;
/// Bytes that one round may write.
pub const ROUND_BYTES_MAX: usize = 4 << 20;
/// Rows that one scan beside the committer gives; it holds up commits for about a millisecond.
pub const SCAN_ROWS_MAX: usize = 1_024;
/// Commands that one round takes in.
pub const ROUND_COMMANDS_MAX: usize = 256;
/// Commands that wait for the committer.
pub const QUEUE_COMMANDS_MAX: usize = 4_096;
/// Of these, how many one principal may hold.
pub const QUEUE_COMMANDS_PER_PRINCIPAL_MAX: usize = 1_024;
/// A round that takes longer than this ends the process: the engine hangs.
pub const ROUND_MS_MAX: u64 = 10_000;
/// Reopening a store that failed, and reading it again, ends the process when it takes longer than
/// this: a start takes 13 s a million live tokens, and whatever hangs would hang a stop as well.
pub const REOPENING_MS_MAX: u64 = 10 * 60 * 1000;
/// Bytes of one of the journal's two files, past which it is the other one's turn. Rounds of both may
/// be in memory, and have to go into the engine within the reserve of space.
pub const JOURNAL_BYTES_MAX: u64 = 2 << 20;
/// Rows that an engine is asked for at a time, once they turn out to come from the disk.
pub const READS_AT_ONCE_MAX: usize = 8;
/// Free disk space below which writes are refused.
pub const SPACE_RESERVE_BYTES: u64 = 64 << 20;
/// At most one high-water mark in this time.
pub const MARK_INTERVAL_MS: u64 = 100;

/// The checkpoint command is ended after this.
pub const SINK_COMMAND_MS_MAX: u64 = 10_000;
/// It is run at most once in this time.
pub const SINK_COMMAND_PAUSE_MS: u64 = 1_000;
/// While it fails it is tried again at last after this.
pub const SINK_COMMAND_PAUSE_MS_MAX: u64 = 60_000;

/// Witnesses that a vault asks.
pub const WITNESSES_MAX: usize = 8;
/// Bytes of a witness's URL.
pub const WITNESS_URL_BYTES_MAX: usize = 256;
/// A call to a witness takes no longer than this …
pub const WITNESS_CALL_MS_MAX: u64 = 10_000;
/// … at a start, all of them together, than this …
pub const WITNESS_START_MS_MAX: u64 = 3_000;
/// … and at the end.
pub const WITNESS_LAST_MS_MAX: u64 = 1_000;
/// Witnesses are asked at most once in this time.
pub const WITNESS_PAUSE_MS: u64 = 1_000;
/// While one fails it is asked at last after this.
pub const WITNESS_PAUSE_MS_MAX: u64 = 60_000;
/// A witness that contradicts is an alarm at most once in this time.
pub const WITNESS_CONFLICT_MS: u64 = 3_600_000;
/// Minutes without a cosignature that are an alarm, unless configured, …
pub const WITNESS_SILENT_MINUTES_DEFAULT: u32 = 10;
/// … and what may be configured.
pub const WITNESS_SILENT_MINUTES: std::ops::RangeInclusive<u32> = 1..=10_080;
/// An export waits for a cosigned checkpoint no longer than this.
pub const EXPORT_COSIGNED_MS_MAX: u64 = 2_000;
/// Lines of a consistency proof (C2SP tlog-witness).
pub const WITNESS_PROOF_LINES_MAX: usize = 63;
/// Bytes that a witness takes in: a note and the longest proof.
pub const WITNESS_REQUEST_BYTES_MAX: usize = NOTE_BYTES_MAX + 4_096;
/// Connections at once to a witness.
pub const WITNESS_CONNECTIONS_MAX: usize = 64;
/// … and of them, of one address.
pub const WITNESS_CONNECTIONS_OF_ADDRESS_MAX: usize = 16;
/// A connection to a witness ends after this, whatever is under way.
pub const WITNESS_CONNECTION_MS_MAX: u64 = 30_000;
/// A request to a witness that takes longer to come in, or a connection without one, is cut.
pub const WITNESS_REQUEST_MS_MAX: u64 = 10_000;
/// Ledger keys that a witness is given.
pub const WITNESS_LEDGERS_MAX: usize = 1_024;

/// Tokens of one transaction.
pub const TOKENS_PER_TRANSACTION_MAX: usize = 4;
/// Parties of one transaction.
pub const PARTIES_MAX: usize = 4;
/// Redemptions a grant may name.
pub const USES_MAX: u32 = 100;
/// Remembered successful requests of one transaction.
pub const REQUESTS_REMEMBERED_MAX: usize = 24;
/// Of these, how many are kept free for each caller tied to it: the portal and every party.
pub const REQUESTS_PER_CALLER_MIN: usize = 4;
/// How long a request is remembered.
pub const REQUEST_MEMORY_MS: u64 = 24 * 60 * 60 * 1000;
/// Bytes of a request id, least and most.
pub const REQUEST_ID_BYTES: std::ops::RangeInclusive<usize> = 16..=32;
/// Characters of a reference, merchant id or ticket.
pub const REFERENCE_CHARS_MAX: usize = 64;
/// Characters of an export's reason.
pub const REASON_CHARS_MAX: usize = 200;
/// Longest time from opening to `release_until`, whatever a site or allowance says.
pub const RELEASE_MS_MAX: u64 = 400 * crate::clock::DAY_MS;
/// Years that a card's expiry may lie ahead.
pub const CARD_YEARS_AHEAD_MAX: u16 = 20;
/// Characters of a card holder's name.
pub const CARD_HOLDER_CHARS_MAX: usize = 60;
/// Characters of an account holder's name (SEPA).
pub const ACCOUNT_HOLDER_CHARS_MAX: usize = 70;
/// Characters of a postcode.
pub const POSTAL_CODE_CHARS_MAX: usize = 16;
/// Characters of an address line.
pub const ADDRESS_LINE_CHARS_MAX: usize = 80;
/// Characters of any number (PAN, IBAN, account) as it comes in, separators included.
pub const NUMBER_CHARS_MAX: usize = 48;
/// Bytes of each of the files with the British modulus tables; about 130 KiB are in use.
pub const UK_TABLE_BYTES_MAX: usize = 1 << 20;
/// Lines of each of them; about 1,200 are in use.
pub const UK_TABLE_ROWS_MAX: usize = 10_000;

/// How long a security code stays in memory (monotonic).
pub const SECURITY_CODE_MS: u64 = 15 * 60 * 1000;
/// How long a released security code may be repeated to the same principal and request id.
pub const SECURITY_CODE_REPEAT_MS: u64 = 60 * 1000;
/// Security codes in memory at once.
pub const SECURITY_CODES_MAX: usize = 100_000;

/// Principals of a vault.
pub const PRINCIPALS_MAX: usize = 10_000;
/// Rows of the allow-list.
pub const ALLOWANCES_MAX: usize = 10_000;
/// Pending actions at once.
pub const PENDING_ACTIONS_MAX: usize = 64;
/// A pending action lapses after this.
pub const PENDING_ACTION_MS: u64 = 24 * 60 * 60 * 1000;
/// Characters of a principal's name.
pub const NAME_CHARS_MAX: usize = 64;
/// Sites of one principal.
pub const SITES_MAX: usize = 16;
/// Bytes of a certificate in PEM.
pub const CERTIFICATE_PEM_BYTES_MAX: usize = 16 << 10;
/// Bytes of a certificate's URI.
pub const CERTIFICATE_URI_BYTES_MAX: usize = 256;

/// Bad tries that lock a human principal (PCI DSS 8.3.4).
pub const BAD_TRIES_MAX: u8 = 10;
/// How long it stays locked (PCI DSS 8.3.4).
pub const LOCK_MS: u64 = 30 * 60 * 1000;
/// A session ends after this time without a call (PCI DSS 8.2.8).
pub const SESSION_IDLE_MS: u64 = 15 * 60 * 1000;
/// A session ends after this time in any case.
pub const SESSION_MS_MAX: u64 = 8 * 60 * 60 * 1000;
/// Sessions of one principal.
pub const SESSIONS_PER_PRINCIPAL_MAX: usize = 16;
/// A principal that did not call for this time is disabled (PCI DSS 8.2.6).
pub const IDLE_DAYS_MAX: u64 = 90;
/// `GetStatus` warns for so long before too few operators are left who can act.
pub const LAPSE_WARNING_DAYS: u64 = 30;
/// Bytes of a secret or session at `Login`.
pub const SECRET_BYTES_MAX: usize = 128;
/// Argon2 computations over people's secrets at once: each takes memory and a core.
pub const SECRET_HASHES_AT_ONCE_MAX: usize = 2;
/// How many more may wait for one.
pub const SECRET_HASHES_WAITING_MAX: usize = 32;
/// Bytes of a passphrase; least and most.
pub const PASSPHRASE_BYTES: std::ops::RangeInclusive<usize> = 12..=1024;
/// Bytes of a security module's PIN; least and most (PKCS#11 leaves it to the token).
pub const PIN_BYTES: std::ops::RangeInclusive<usize> = 4..=255;
/// Bytes of a token's label (PKCS#11: 32, padded), and of a key's.
pub const HSM_LABEL_BYTES_MAX: usize = 32;
/// Bytes of the name of a key in Amazon's key service.
pub const KMS_KEY_BYTES_MAX: usize = 2048;
/// Bytes that its answer to an encryption may have.
pub const KMS_BLOB_BYTES_MAX: usize = 6144;
/// How long a call to it may take, with its retries.
pub const KMS_CALL_MS: u64 = 30_000;
/// Certificates that may unseal.
pub const UNSEALERS_MAX: usize = 64;
/// Custodians of a seal.
pub const CUSTODIANS_MAX: usize = 16;
/// The fewest custodians that a seal takes to open: one alone is no split knowledge.
pub const CUSTODIANS_THRESHOLD_MIN: u8 = 2;
/// Bytes of a share's text; it has 143.
pub const SHARE_TEXT_BYTES_MAX: usize = 256;
/// Bytes of a share's file, encrypted.
pub const SHARE_FILE_BYTES_MAX: usize = 16 << 10;
/// Shares that were given lie in memory no longer than this, counted from the first.
pub const SHARES_KEPT_MS: u64 = 30 * 60 * 1000;
/// Kinds of failed tries to unseal (reason, certificate, origin) that are told apart; what comes
/// beyond is counted.
pub const UNSEAL_TRIES_MAX: usize = 64;
/// Bytes of the file that keeps them.
pub const UNSEAL_TRIES_BYTES_MAX: usize = 64 << 10;
/// Bytes of seal.json.
pub const SEAL_FILE_BYTES_MAX: usize = 64 << 10;
/// Keys that a keyring holds, destroyed ones (which only name themselves) included: six a day for
/// more than 40 years.
pub const KEYS_MAX: usize = 100_000;
/// Seals that a key may make (NIST SP 800-38D, 8.3, has 2^32 for random nonces); then the next
/// generation comes. Values are sealed under keys derived from it, each of which makes far fewer: all
/// of them together are counted.
pub const KEY_SEALS_MAX: u64 = 1 << 31;
/// Seals that are reserved, durably, at a time.
pub const KEY_SEALS_RESERVED: u64 = 1 << 20;
/// What a key of an earlier version, whose seals nobody counted, is taken to have made.
pub const KEY_SEALS_UNCOUNTED: u64 = 1 << 30;
/// Seals that one round makes under one key, at the most: rows, entries, redo record and head.
pub const ROUND_SEALS_MAX: u64 = 4 * ROUND_ROWS_MAX as u64;
/// So long before a key's last day the next generation comes.
pub const KEY_ROTATES_AHEAD_MS: u64 = 30 * crate::clock::DAY_MS;
/// Rows that one command seals anew: a small part of a round.
pub const REWRAP_ROWS_MAX: usize = 64;
/// Keys that one call may rotate.
pub const KEYS_ROTATED_AT_ONCE_MAX: usize = 1_000;
/// A re-wrap that met rows which don't open begins again after this.
pub const REWRAP_AGAIN_MS: u64 = 10 * 60 * 1000;
/// Keys in one message of their list.
pub const KEYS_LISTED_AT_ONCE: usize = 100;
/// Bytes of the keyring's file.
pub const KEYRING_BYTES_MAX: usize = 16 << 20;
/// Bytes of a row's key, and of the scope of a derived key; the longest row key has 49.
pub const ROW_KEY_BYTES_MAX: usize = 64;

/// Denials a minute and principal that get an entry each; further ones are summed up.
pub const DENIALS_PER_MINUTE: u32 = 100;
/// An alarm is raised at this part of them: a twentieth of a hundred would be a typing error, a fifth
/// is somebody who tries.
pub const ALARM_DENIALS_PART: u32 = 5;
/// A party's releases of an hour are an alarm when they are more than this many times what is usual…
pub const ALARM_TIMES: u64 = 4;
/// … and at least this many …
pub const ALARM_RELEASES_MIN: u64 = 100;
/// … once this many hours say what is usual.
pub const ALARM_HOURS_MIN: u64 = 3;
/// Whoever is not tied is answered at a multiple of this after its call came in, so that the time
/// says nothing about what was found.
pub const NOT_TIED_BEAT_MS: u64 = 20;
/// A clock jump past this is an entry and an alarm.
pub const CLOCK_STEP_MS: u64 = 5 * 60 * 1000;

/// Bytes of a gRPC message that comes in.
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Connections at once.
pub const CONNECTIONS_MAX: usize = 1_024;
/// Descriptors that connections leave to the store, the marks, the keyring and health. Where the
/// system gives too few, there are fewer connections: a store that can't open its files fails.
pub const DESCRIPTORS_RESERVED: u64 = 32 + HEALTH_CONNECTIONS_MAX as u64;
/// With fewer descriptors than this a vault doesn't start.
pub const DESCRIPTORS_MIN: u64 = DESCRIPTORS_RESERVED + 16;
/// Of the connections, how many one address may hold (of IPv6, one network of 64 bits).
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 256;
/// Of these, how many one client may hold, whatever addresses it comes from: all that present one
/// URI of one CA.
pub const CONNECTIONS_PER_CLIENT_MAX: usize = 256;
/// Handshakes at once.
pub const HANDSHAKES_MAX: usize = 64;
/// Threads that they run on, and how far these stand back behind the others (`nice`): of a core that
/// is wanted by both, handshakes get a tenth.
pub const HANDSHAKE_THREADS: usize = 2;
/// See [`HANDSHAKE_THREADS`].
pub const HANDSHAKE_NICENESS: i32 = 10;
/// Of these, how many one address may hold (of IPv6, one network of 64 bits).
pub const HANDSHAKES_PER_ADDRESS_MAX: usize = 8;
/// A TLS handshake that takes longer is dropped.
pub const HANDSHAKE_MS_MAX: u64 = 5_000;
/// After its handshake, a connection that doesn't begin HTTP/2 within this is cut.
pub const HTTP2_BEGIN_MS_MAX: u64 = 5_000;
/// Bytes that a connection may bring without beginning a call before it stands back: it gets one
/// small read in turn with all others then, however much lies there.
pub const BYTES_IN_TURN: u64 = 64 << 10;
/// Such a read.
pub const TURN_BYTES: usize = 1 << 10;
/// Bytes that a connection may bring without beginning a call; twice what its calls under way can.
pub const BYTES_WITHOUT_CALL_MAX: u64 =
    2 * CALLS_PER_CONNECTION_MAX as u64 * MESSAGE_BYTES_MAX as u64;
/// A connection whose peer takes nothing of an answer for this long is cut.
pub const ANSWER_STALL_MS_MAX: u64 = 30_000;
/// Calls at once on one connection.
pub const CALLS_PER_CONNECTION_MAX: u32 = 256;
/// Bytes of a request's header list.
pub const HEADER_BYTES_MAX: u32 = 16 << 10;
/// Calls that a peer has taken back before they were begun; one more ends its connection.
pub const RESETS_WAITING_MAX: usize = 20;
/// Calls of one connection that end with an error of the peer's in HTTP/2; one more ends it.
pub const STREAM_ERRORS_MAX: usize = 256;
/// A call takes no longer than this.
pub const DEADLINE_MS_MAX: u64 = 30_000;
/// How long the client library waits for one answer, unless it is told otherwise.
pub const CLIENT_ANSWER_MS: u64 = 10_000;
/// How long the client library keeps a collect document without asking for another.
pub const CLIENT_COLLECT_MS_MAX: u64 = 60 * 60 * 1000;
/// How often a client of ours sends one request at most.
pub const CLIENT_TRIES_MAX: u32 = 16;
/// A connection lives no longer than this (certificates are looked at again).
pub const CONNECTION_AGE_MS_MAX: u64 = 60 * 60 * 1000;
/// Past its age, a connection's calls under way have this long; then it is cut.
pub const CONNECTION_GRACE_MS_MAX: u64 = 15 * 60 * 1000;
/// Connections whose handshake is done and that wait to be served.
pub const CONNECTIONS_READY_MAX: usize = 16;
/// Connections at once to the health listener.
pub const HEALTH_CONNECTIONS_MAX: usize = 32;
/// After an error in accepting, the listener rests this long.
pub const ACCEPT_PAUSE_MS: u64 = 50;
/// Counters of refused handshakes (origin and reason) between two looks at them.
pub const REFUSED_ORIGINS_MAX: usize = 1_024;
/// Bytes that one call may have under way before they are taken in.
pub const STREAM_WINDOW_BYTES: u32 = 128 << 10;
/// Bytes that all calls of one connection may have under way.
pub const CONNECTION_WINDOW_BYTES: u32 = 512 << 10;
/// A quiet connection is pinged this often.
pub const KEEPALIVE_MS: u64 = 30_000;
/// A ping that isn't answered within this ends the connection.
pub const KEEPALIVE_ANSWER_MS_MAX: u64 = 10_000;
/// Refusals a second that one client is told; further ones wait for their turn. A refusal costs about
/// as much as a call, and whoever is refused may ask again at once.
pub const REFUSALS_PER_SECOND: u32 = 1_000;
/// Refusals that a client is told without waiting when it had none for a while.
pub const REFUSALS_AT_ONCE: u32 = 100;
/// No refusal waits longer for its turn: the caller is to be there still.
pub const REFUSAL_WAIT_MS_MAX: u64 = 5_000;
const _: () = assert!(2 * REFUSAL_WAIT_MS_MAX <= CLIENT_ANSWER_MS);
/// Calls a second and principal, unless configured.
pub const CALLS_PER_SECOND_DEFAULT: u32 = 20_000;
/// After SIGTERM, calls under way have this long.
pub const DRAIN_MS_MAX: u64 = 10_000;
/// Items of one message of a stream.
pub const STREAM_MESSAGE_ITEMS_MAX: usize = 64;
/// While this many items of a stream wait for the committer, its next message isn't read. Two rounds
/// of some 128: one fills while the other is on its way to the disk.
pub const STREAM_ITEMS_ASKED_MAX: usize = 256;
/// While this many items of a stream have no answer that was taken, its next message isn't read. More
/// than wait for the committer, so that an answer that waits for its beat
/// ([`NOT_TIED_BEAT_MS`]) holds up no work.
pub const STREAM_ITEMS_HELD_MAX: usize = 1_024;
/// Streams at once a principal. Together they leave it a part of its share of the queue.
pub const STREAMS_PER_PRINCIPAL_MAX: usize = 3;
/// A stream lasts no longer than this: as long as a connection's calls may past its age.
pub const STREAM_MS_MAX: u64 = CONNECTION_GRACE_MS_MAX;
/// A stream without a message for this long, all of whose items are answered, is ended.
pub const STREAM_IDLE_MS_MAX: u64 = 60_000;
/// How often a stream looks whether its caller may still call, and whether its time is over.
pub const STREAM_LOOK_MS: u64 = 100;
const _: () = assert!(
    STREAMS_PER_PRINCIPAL_MAX * (STREAM_ITEMS_ASKED_MAX + STREAM_MESSAGE_ITEMS_MAX)
        < QUEUE_COMMANDS_PER_PRINCIPAL_MAX
);
/// Exports at once a principal.
pub const EXPORTS_PER_PRINCIPAL_MAX: usize = 2;
/// Tails at once a principal.
pub const TAILS_PER_PRINCIPAL_MAX: usize = 2;
/// Entries that a tail without a beginning shows of the past.
pub const TAIL_PAST: u64 = 10;
/// A tail that has nothing to send says so this often.
pub const TAIL_QUIET_MS: u64 = 5_000;
/// How often exports and tails look whether their auditor may still read.
pub const READING_LOOK_MS: u64 = 1_000;
/// Bytes of one piece of an export.
pub const EXPORT_PIECE_BYTES: usize = 48 << 10;
/// Kinds that an export's filter may name.
pub const EXPORT_KINDS_MAX: usize = 32;

/// Bytes of one line of an export, its newline not counted; a verifier reads no further.
pub const EXPORT_LINE_BYTES_MAX: usize = 64 << 10;
/// Bytes of a file of age identities.
pub const IDENTITY_BYTES_MAX: u64 = 64 << 10;
/// Logarithm of the window that a compressed export may ask a reader to keep: 8 MiB, as RFC 8878
/// recommends.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Bytes of a receipt: one open line and what proves it.
pub const RECEIPT_BYTES_MAX: usize = 128 << 10;
/// Erased buckets of one export that a verifier keeps in mind at once.
pub const EXPORT_BUCKETS_MAX: usize = 16_384;
/// Bytes of a signed note that is read.
pub const NOTE_BYTES_MAX: usize = 24 << 10;
/// Signatures of a signed note that is read (C2SP signed-note asks for at least 16).
pub const NOTE_SIGNATURES_MAX: usize = 32;
/// Bytes of a ledger bucket's id in text.
pub const BUCKET_BYTES_MAX: usize = 64;

/// A clock that is further past the last entry than this is not believed at the start.
pub const CLOCK_AHEAD_MS_MAX: u64 = 1_200 * crate::clock::DAY_MS;

/// Bytes of an import's input: some half a million lines.
pub const IMPORT_BYTES_MAX: usize = 256 << 20;
/// Bytes of one line of it.
pub const IMPORT_LINE_BYTES_MAX: usize = 16 << 10;
/// An import is gone on with for this long after it was begun: well within [`REQUEST_MEMORY_MS`].
pub const IMPORT_JOB_MS_MAX: u64 = REQUEST_MEMORY_MS - 60 * 60 * 1000;

/// Bytes of a backup's chunk, sealed; a reader takes no longer one.
pub const BACKUP_CHUNK_BYTES_MAX: usize = 1 << 20;
/// Bytes of committed rows that wait to be written into a backup under way; past it the backup
/// fails, since the committer waits for nobody.
pub const BACKUP_WAITING_BYTES_MAX: usize = 32 << 20;
/// Characters of the software's version in a backup's header.
pub const BACKUP_VERSION_CHARS_MAX: usize = 64;
/// Files in a backup directory that a drill looks at.
pub const BACKUP_FILES_MAX: usize = 100_000;

/// How long a bucket's key waits, visible as pending, before it is destroyed.
pub const PENDING_DESTRUCTION_MS: u64 = 3 * crate::clock::DAY_MS;
/// Days that copies of the keys directory are kept, unless configured.
pub const KEY_BACKUP_DAYS_DEFAULT: u32 = 30;
/// The longest that may be configured.
pub const KEY_BACKUP_DAYS_MAX: u32 = 400;
/// Pages of [`SCAN_ROWS_MAX`] rows that the keeper looks at in one go, at most …
pub const KEEPER_PAGES_MAX: usize = 64;
/// … and for how long: it holds the committer up.
pub const KEEPER_MS_MAX: u64 = 20;
/// Rows of erased transactions that are taken away in one round.
pub const SWEEP_ROWS_MAX: usize = 512;
/// Pages of erased entries that are replaced in one round …
pub const PRUNE_PAGES_MAX: usize = 64;
/// … and that are looked at for it.
pub const PRUNE_PAGES_LOOKED_MAX: usize = 512;
/// Legal holds at once.
pub const HOLDS_MAX: usize = 1_000;
/// Entries about keys in one round.
pub const KEY_ENTRIES_MAX: usize = 1_024;
/// Keys that one write of the keyring marks for destruction, or destroys.
pub const KEYS_ENDED_AT_ONCE_MAX: usize = 512;

/// Characters of sealed details.
pub const SEALED_DETAILS_CHARS_MAX: usize = 8_192;
/// Bytes inside of sealed details, padding included …
pub const SEALED_PLAINTEXT_BYTES_MAX: usize = 2_048;
/// … which fills them up to a multiple of this.
pub const SEALED_PLAINTEXT_STEP: usize = 512;
/// How far behind the vault's a clock may be that takes a collect document on its first day.
pub const COLLECT_CLOCK_SLACK_MS: u64 = 60 * 60 * 1000;
/// Bytes of a collect document.
pub const COLLECT_DOCUMENT_BYTES_MAX: usize = 4_096;
