//! What a run does, as a list that is made from a seed beforehand. Every operation carries all that
//! it needs, by name: taking one out changes no other, so a failing list can be made shorter.

use payvault::clock::DAY_MS;
use payvault::policy::{Field, Purpose};
use payvault::store::memory::Fault;
use std::collections::BTreeMap;

/// A generator that a seed names (SplitMix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
    pub fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len() as u64) as usize].clone()
    }
    pub fn once_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }
}

/// Names a transaction, a token or a newcomer: the number of the operation that makes it, and of
/// that operation's request.
pub type Tag = u32;

/// Names a principal: one of the house's, or the tag of its enrolment.
pub type Who = u32;
pub const SHOP: Who = 0;
pub const OTHER: Who = 1;
pub const ACME: Who = 2;
pub const BOLT: Who = 3;
pub const CRUX: Who = 4;
/// Tags are above the house's own principals.
pub const FIRST_TAG: Tag = 100;

pub const CARDS: [&str; 3] = ["4111111111111111", "5555555555554444", "378282246310005"];
pub const SITES: [&str; 2] = ["nl", "us"];

/// What may be asked for at once.
pub const FIELDS: [&[Field]; 5] = [
    &[Field::Number],
    &[Field::Number, Field::Expiry],
    &[Field::Number, Field::Holder],
    &[Field::Number, Field::SecurityCode],
    &[Field::Billing],
];
pub const WITH_CODE: usize = 3;

/// What the first named party may do, and what the others may.
pub fn grants(place: usize) -> Vec<(Purpose, &'static [Field], u8)> {
    match place {
        0 => vec![
            (Purpose::Authorize, &Field::ALL, 2),
            (Purpose::Capture, FIELDS[1], 3),
        ],
        _ => vec![(Purpose::Payout, FIELDS[2], 1)],
    }
}

/// Details that came sealed. What is inside is the call's card and code.
#[derive(Debug, Clone, PartialEq)]
pub struct SealedText {
    /// Names the text: the first request that carries it.
    pub text: Tag,
    /// For how long it opens, from when it is first handed in.
    pub opens_ms: u64,
    /// What the vault finds that opens it.
    pub found: Found,
}

/// What there is inside of a sealed text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Found {
    Details,
    /// Details that were sealed for the other site.
    Elsewhere,
    Nothing,
}

/// A call of the contract.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    Open {
        tag: Tag,
        by: Who,
        site: usize,
        parties: Vec<Who>,
        expires_ms: u64,
        release_ms: u64,
    },
    Tokenize {
        tag: Tag,
        by: Who,
        tx: Tag,
        card: usize,
        code: Option<u16>,
        replaces: Option<Tag>,
        sealed: Option<SealedText>,
    },
    Redeem {
        tag: Tag,
        by: Who,
        tx: Tag,
        token: Tag,
        purpose: Purpose,
        fields: usize,
    },
    Report {
        tag: Tag,
        by: Who,
        tx: Tag,
        token: Tag,
        won: bool,
    },
    Describe {
        by: Who,
        tx: Tag,
        token: Tag,
    },
    Get {
        by: Who,
        tx: Tag,
    },
    Revoke {
        by: Who,
        tx: Tag,
        token: Tag,
    },
    Close {
        by: Who,
        tx: Tag,
    },
}

/// What a caller does about an answer that doesn't say what happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Patience {
    /// Asks again until it knows.
    Settle,
    /// The same, and the process dies once on the way.
    SettleOverACrash,
    /// Lets a redemption be; it may have happened or not. Other calls are settled.
    Leave,
}

/// One operation.
#[derive(Debug, Clone)]
pub enum Op {
    /// Calls that arrive together: the first is a round of its own, the others are the next.
    Calls(Vec<Call>, Patience),
    /// The `after`-th commit from now fails, and then so many reopenings.
    Fault {
        after: u64,
        fault: Fault,
        reopenings: u32,
    },
    /// The `after`-th read of rows from now fails.
    BadRead { after: u64 },
    /// The process dies. With `old_mark` the newest mark was not written yet.
    Crash { old_mark: bool },
    /// An orderly stop and start.
    Restart,
    /// Time passes.
    Pass { ms: u64 },
    /// Time passes up to the end of the day or month, and this far beyond its last millisecond.
    Border { month: bool, beyond_ms: u64 },
    /// Somebody sets the clock, a call comes, and the clock is set back.
    Jolt { back: bool, call: Call },
    /// A second's housekeeping.
    Tick,
    /// Everything that the model knows is what the vault says, and the export verifies.
    Compare,
    /// A principal is disabled, for good.
    Disable { who: Who },
    /// A processor is enrolled by two operators.
    Enrol { tag: Tag },
    /// The allow-list is changed by two operators, or in vain by one.
    Allow {
        site: usize,
        portal: Who,
        processor: Who,
        on: bool,
        second: bool,
    },
    /// Keys are followed by others, and rows sealed anew under them.
    Rekey,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Engine {
    Memory,
    Sled,
}

/// What a seed stands for.
pub struct Plan {
    pub engine: Engine,
    pub ops: Vec<Op>,
}

/// People's agreements end after 60 days, and principals are idle after 90.
const DAYS_MAX: u64 = 50;

struct Maker {
    dice: Dice,
    ops: Vec<Op>,
    next: Tag,
    /// Transactions with their portal and parties, oldest first.
    txs: Vec<(Tag, Who, Vec<Who>)>,
    /// Tokens with their transaction.
    tokens: Vec<(Tag, Tag)>,
    /// Calls with a request id.
    calls: Vec<Call>,
    newcomers: Vec<Who>,
    passed_ms: u64,
    /// Few transactions, with much about each.
    narrow: bool,
    /// A day has just ended: what was asked before is asked again.
    new_day: bool,
}

/// Whether some seeds go to the embedded engine: in the longer forms, and when one is replayed. The
/// short form, which shares its process with all other tests, stays in memory.
pub fn on_disk_too() -> bool {
    ["PAYVAULT_LONG", "PAYVAULT_MODEL_SECONDS", "PAYVAULT_SEED"]
        .iter()
        .any(|name| std::env::var_os(name).is_some())
}

/// The list of `seed`, of `steps` operations.
pub fn plan(seed: u64, steps: usize) -> Plan {
    let mut maker = Maker {
        dice: Dice(seed),
        ops: Vec::new(),
        next: FIRST_TAG,
        txs: Vec::new(),
        tokens: Vec::new(),
        calls: Vec::new(),
        newcomers: Vec::new(),
        passed_ms: 0,
        narrow: false,
        new_day: false,
    };
    maker.narrow = maker.dice.once_in(2);
    let engine = match maker.dice.roll(8) {
        0 if on_disk_too() => Engine::Sled,
        _ => Engine::Memory,
    };
    while maker.ops.len() < steps {
        let op = maker.op();
        maker.ops.extend(op);
    }
    Plan {
        engine,
        ops: maker.ops,
    }
}

impl Maker {
    fn tag(&mut self) -> Tag {
        self.next += 1;
        self.next
    }

    fn op(&mut self) -> Option<Op> {
        if std::mem::take(&mut self.new_day) && self.dice.once_in(2) {
            return Some(Op::Calls(vec![self.again()?], self.patience()));
        }
        let roll = self.dice.roll(100);
        Some(match roll {
            0..=5 if self.narrow && self.txs.len() > 1 && !self.dice.once_in(8) => return None,
            0..=5 => Op::Calls(vec![self.open()], self.patience()),
            6..=19 => Op::Calls(vec![self.tokenize()?], self.patience()),
            28..=34 if self.narrow => Op::Calls(vec![self.report()?], self.patience()),
            20..=47 => Op::Calls(vec![self.redeem()?], self.patience()),
            48..=58 => Op::Calls(self.together()?, self.patience()),
            59..=63 => Op::Calls(vec![self.again()?], self.patience()),
            64..=65 => Op::Calls(vec![self.report()?], self.patience()),
            66..=67 => Op::Calls(vec![self.look()?], self.patience()),
            68..=69 => Op::Calls(vec![self.end()?], self.patience()),
            70 => Op::BadRead {
                after: 1 + self.dice.roll(3),
            },
            71..=79 => Op::Fault {
                after: 1 + self.dice.roll(3),
                fault: self.dice.one(&Fault::ALL),
                reopenings: match self.dice.roll(5) {
                    0 => 1 + self.dice.roll(3) as u32,
                    _ => 0,
                },
            },
            80..=82 => Op::Crash {
                old_mark: self.dice.once_in(3),
            },
            83 => Op::Restart,
            84..=87 => self.pass(),
            88..=89 => self.border()?,
            90 => Op::Jolt {
                back: self.dice.once_in(2),
                call: self.redeem()?,
            },
            91..=92 => Op::Tick,
            93 => Op::Compare,
            94 if self.dice.once_in(3) => Op::Disable {
                who: self.processor_or_other(),
            },
            95 if self.newcomers.len() < 6 => {
                let tag = self.tag();
                self.newcomers.push(tag);
                Op::Enrol { tag }
            }
            96..=98 => Op::Allow {
                site: self.dice.roll(2) as usize,
                portal: self.dice.one(&[SHOP, SHOP, OTHER]),
                processor: self.processor(),
                on: !self.dice.once_in(4),
                second: !self.dice.once_in(5),
            },
            99 => Op::Rekey,
            _ => return None,
        })
    }

    fn patience(&mut self) -> Patience {
        match self.dice.roll(6) {
            0..=1 => Patience::Leave,
            2 => Patience::SettleOverACrash,
            _ => Patience::Settle,
        }
    }

    fn processor(&mut self) -> Who {
        let mut of = vec![ACME, BOLT, CRUX];
        of.extend(&self.newcomers);
        self.dice.one(&of)
    }

    fn processor_or_other(&mut self) -> Who {
        match self.dice.once_in(5) {
            true => OTHER,
            false => self.processor(),
        }
    }

    fn open(&mut self) -> Call {
        let tag = self.tag();
        let by = self.dice.one(&[SHOP, SHOP, SHOP, OTHER]);
        let mut parties = match self.dice.roll(4) {
            0 => vec![self.processor(), self.processor()],
            1 => vec![BOLT, ACME],
            _ => vec![ACME, BOLT],
        };
        parties.dedup();
        self.txs.push((tag, by, parties.clone()));
        const HOUR_MS: u64 = 3_600_000;
        let (expires_ms, release_ms) = self.dice.one(&[
            (HOUR_MS, 2 * HOUR_MS),
            (HOUR_MS, 7 * DAY_MS),
            (30 * HOUR_MS, 2 * DAY_MS),
            (30 * HOUR_MS, 7 * DAY_MS),
        ]);
        let call = Call::Open {
            tag,
            by,
            site: self.dice.roll(2) as usize,
            parties,
            expires_ms,
            release_ms,
        };
        self.calls.push(call.clone());
        call
    }

    /// Mostly one of the newest.
    fn tx(&mut self) -> Option<(Tag, Who, Vec<Who>)> {
        let len = self.txs.len();
        let back = match self.dice.once_in(5) {
            true => len,
            false => len.min(3),
        };
        (len > 0).then(|| self.txs[len - 1 - self.dice.roll(back as u64) as usize].clone())
    }

    /// Sealed details that this transaction had before, with what is inside.
    fn sealed_before(&self, of: Tag) -> Option<(usize, Option<u16>, SealedText)> {
        self.calls.iter().rev().find_map(|call| match call {
            Call::Tokenize {
                tx,
                card,
                code,
                sealed: Some(sealed),
                ..
            } if *tx == of => Some((*card, *code, sealed.clone())),
            _ => None,
        })
    }

    fn sealed(&mut self, text: Tag) -> SealedText {
        SealedText {
            text,
            opens_ms: self.dice.one(&[3_600_000, 2 * DAY_MS]),
            found: match self.dice.roll(16) {
                0 => Found::Elsewhere,
                1 => Found::Nothing,
                _ => Found::Details,
            },
        }
    }

    fn tokenize(&mut self) -> Option<Call> {
        let (tx, portal, _) = self.tx()?;
        let tag = self.tag();
        let own = self.tokens.iter().rev().find(|(_, of)| *of == tx);
        let replaces = own.map(|(token, _)| *token);
        self.tokens.push((tag, tx));
        let stranger = self.dice.once_in(10);
        let mut card = self.dice.roll(3) as usize;
        let mut code = (self.dice.once_in(2)).then(|| 1_000 + self.dice.roll(9_000) as u16);
        let mut sealed = (self.dice.once_in(3)).then(|| self.sealed(tag));
        if sealed.is_some()
            && self.dice.once_in(3)
            && let Some(before) = self.sealed_before(tx)
        {
            (card, code) = (before.0, before.1);
            sealed = Some(before.2);
        }
        let call = Call::Tokenize {
            tag,
            by: if stranger {
                SHOP + OTHER - portal
            } else {
                portal
            },
            tx,
            card,
            code,
            replaces: replaces.filter(|_| self.dice.once_in(6)),
            sealed,
        };
        self.calls.push(call.clone());
        Some(call)
    }

    /// A token of one of the newest transactions, and who may be interested in it.
    fn token(&mut self) -> Option<(Tag, Tag, Who, usize)> {
        let (tx, _, parties) = self.tx()?;
        let own: Vec<Tag> = self
            .tokens
            .iter()
            .filter(|t| t.1 == tx)
            .map(|t| t.0)
            .collect();
        if own.is_empty() {
            return None;
        }
        let token = match self.dice.once_in(30) {
            true => self.dice.one(&self.tokens.clone()).0,
            false => self.dice.one(&own),
        };
        let place = match self.dice.once_in(3) {
            true => parties.len() - 1,
            false => 0,
        };
        let by = match self.dice.roll(14) {
            0 => self.processor(),
            _ => parties[place],
        };
        Some((tx, token, by, place))
    }

    fn redeem(&mut self) -> Option<Call> {
        let (tx, token, by, place) = self.token()?;
        let granted = grants(place);
        let purpose = match self.dice.once_in(14) {
            true => Purpose::Refund,
            false => self.dice.one(&granted).0,
        };
        let fields = match purpose {
            Purpose::Authorize => self.dice.one(&[0, 1, WITH_CODE, WITH_CODE]),
            Purpose::Capture => self.dice.one(&[0, 1, 1, 1, WITH_CODE]),
            _ => self.dice.one(&[0, 2, 2, 4]),
        };
        let call = Call::Redeem {
            tag: self.tag(),
            by,
            tx,
            token,
            purpose,
            fields,
        };
        self.calls.push(call.clone());
        Some(call)
    }

    fn again(&mut self) -> Option<Call> {
        let len = self.calls.len();
        let back = (len as u64).min(6);
        let opened = |call: &&Call| matches!(call, Call::Open { .. });
        if self.dice.once_in(4)
            && let Some(call) = self.calls.iter().rev().find(opened)
        {
            return Some(call.clone());
        }
        let mut call = self
            .calls
            .get(len.checked_sub(1 + self.dice.roll(back.max(1)) as usize)?)?
            .clone();
        if let Call::Redeem { fields, .. } = &mut call
            && self.dice.once_in(6)
        {
            *fields = self.dice.roll(2) as usize;
        }
        Some(call)
    }

    /// Calls that arrive together: about one token, with something that ends it, perhaps.
    fn together(&mut self) -> Option<Vec<Call>> {
        let (tx, token, ..) = self.token()?;
        let count = 2 + self.dice.roll(5);
        let (_, portal, parties) = self.txs.iter().find(|t| t.0 == tx)?.clone();
        let mut calls = Vec::new();
        for _ in 0..count {
            let call = match self.dice.roll(30) {
                0 if !self.narrow => Call::Close { by: portal, tx },
                1 => Call::Revoke {
                    by: portal,
                    tx,
                    token,
                },
                2..=4 => Call::Describe {
                    by: self.dice.one(&parties),
                    tx,
                    token,
                },
                5..=7 => self.again().filter(|c| matches!(c, Call::Redeem { .. }))?,
                _ => {
                    let place = self.dice.roll(parties.len() as u64) as usize;
                    let (purpose, ..) = self.dice.one(&grants(place));
                    let fields = match purpose {
                        Purpose::Authorize => self.dice.one(&[0, WITH_CODE]),
                        _ => 0,
                    };
                    let call = Call::Redeem {
                        tag: self.tag(),
                        by: parties[place],
                        tx,
                        token,
                        purpose,
                        fields,
                    };
                    self.calls.push(call.clone());
                    call
                }
            };
            calls.push(call);
        }
        Some(calls)
    }

    fn report(&mut self) -> Option<Call> {
        let (tx, token, by, _) = self.token()?;
        let call = Call::Report {
            tag: self.tag(),
            by,
            tx,
            token,
            won: self.dice.once_in(3),
        };
        self.calls.push(call.clone());
        Some(call)
    }

    fn look(&mut self) -> Option<Call> {
        let (tx, token, by, _) = self.token()?;
        let portal = self.dice.one(&[SHOP, OTHER]);
        Some(match self.dice.roll(4) {
            0 => Call::Get { by: portal, tx },
            1 => Call::Get { by, tx },
            2 => Call::Describe {
                by: portal,
                tx,
                token,
            },
            _ => Call::Describe { by, tx, token },
        })
    }

    fn end(&mut self) -> Option<Call> {
        let (tx, token, ..) = self.token()?;
        let (_, portal, _) = self.txs.iter().find(|t| t.0 == tx)?.clone();
        let by = match self.dice.once_in(8) {
            true => SHOP + OTHER - portal,
            false => portal,
        };
        Some(match !self.narrow && self.dice.once_in(3) {
            true => Call::Close { by, tx },
            false => Call::Revoke { by, tx, token },
        })
    }

    fn pass(&mut self) -> Op {
        const MINUTE_MS: u64 = 60_000;
        let ms = self.dice.one(&[
            1,
            1_000,
            59_999,
            14 * MINUTE_MS,
            30 * MINUTE_MS,
            61 * MINUTE_MS,
            9 * 60 * MINUTE_MS,
            DAY_MS,
        ]);
        match self.spend(ms) {
            true => Op::Pass { ms },
            false => Op::Tick,
        }
    }

    fn border(&mut self) -> Option<Op> {
        let month = self.dice.once_in(12);
        let beyond_ms = self.dice.roll(3);
        self.new_day = !month && beyond_ms > 0;
        self.spend(if month { 31 * DAY_MS } else { DAY_MS } + 2)
            .then_some(Op::Border { month, beyond_ms })
    }

    fn spend(&mut self, ms: u64) -> bool {
        let fits = self.passed_ms + ms <= DAYS_MAX * DAY_MS;
        if fits {
            self.passed_ms += ms;
        }
        fits
    }
}

/// How many operations of each kind there are, by a short name.
pub fn kinds(op: &Op) -> BTreeMap<&'static str, u64> {
    let mut kinds = BTreeMap::new();
    let mut count = |name| *kinds.entry(name).or_default() += 1;
    match op {
        Op::Calls(calls, _) => {
            for call in calls {
                count(match call {
                    Call::Open { .. } => "open",
                    Call::Tokenize { sealed: None, .. } => "tokenize",
                    Call::Tokenize { .. } => "tokenize sealed",
                    Call::Redeem { .. } => "redeem",
                    Call::Report { .. } => "report",
                    Call::Describe { .. } => "describe",
                    Call::Get { .. } => "get",
                    Call::Revoke { .. } => "revoke",
                    Call::Close { .. } => "close",
                });
            }
        }
        Op::Fault { .. } => count("fault ordered"),
        Op::BadRead { .. } => count("bad read ordered"),
        Op::Crash { .. } => count("crash"),
        Op::Restart => count("restart"),
        Op::Pass { .. } => count("time passes"),
        Op::Border { month: true, .. } => count("month ends"),
        Op::Border { month: false, .. } => count("day ends"),
        Op::Jolt { .. } => count("clock set"),
        Op::Tick => count("tick"),
        Op::Compare => count("compare"),
        Op::Disable { .. } => count("disable"),
        Op::Enrol { .. } => count("enrol"),
        Op::Allow { .. } => count("allow-list"),
        Op::Rekey => count("rekey"),
    }
    kinds
}
