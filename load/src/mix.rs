//! Which calls a load is made of.

use std::fmt;
use std::str::FromStr;

/// A kind of call. A stream's items count as one each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// `OpenTransaction`.
    Open,
    /// `Tokenize`.
    Tokenize,
    /// `Redeem`.
    Redeem,
    /// `DescribeToken`.
    Describe,
    /// Items of `TokenizeStream`.
    TokenizeStream,
    /// Items of `RedeemStream`.
    RedeemStream,
}

impl Op {
    /// All of them.
    pub const ALL: [Op; 6] = [
        Op::Open,
        Op::Tokenize,
        Op::Redeem,
        Op::Describe,
        Op::TokenizeStream,
        Op::RedeemStream,
    ];

    /// Whether it comes as items of streams.
    pub fn is_stream(self) -> bool {
        matches!(self, Op::TokenizeStream | Op::RedeemStream)
    }

    /// Its name on the command line and in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Op::Open => "open",
            Op::Tokenize => "tokenize",
            Op::Redeem => "redeem",
            Op::Describe => "describe",
            Op::TokenizeStream => "tokenize-stream",
            Op::RedeemStream => "redeem-stream",
        }
    }
}

/// Calls and how often each comes: `redeem`, or `tokenize=1+redeem=3+describe=1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix {
    parts: Vec<(Op, u32)>,
}

impl Mix {
    /// The call that `dice` (any number) falls on.
    pub fn pick(&self, dice: u64) -> Op {
        let total: u64 = self
            .parts
            .iter()
            .map(|(_, weight)| u64::from(*weight))
            .sum();
        let mut point = dice % total;
        for (op, weight) in &self.parts {
            match point.checked_sub(u64::from(*weight)) {
                None => return *op,
                Some(rest) => point = rest,
            }
        }
        unreachable!("the point is below the sum of the weights")
    }

    /// The stream whose items it is, if it is one.
    pub fn stream(&self) -> Option<Op> {
        self.parts[..]
            .first()
            .map(|(op, _)| *op)
            .filter(|op| op.is_stream())
    }

    /// The part of all calls that `op` is, 0 to 1.
    pub fn share(&self, op: Op) -> f64 {
        let of = |wanted: Option<Op>| -> f64 {
            self.parts
                .iter()
                .filter(|(own, _)| wanted.is_none_or(|w| w == *own))
                .map(|(_, weight)| f64::from(*weight))
                .sum()
        };
        of(Some(op)) / of(None)
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [(op, _)] = self.parts[..] {
            return f.write_str(op.as_str());
        }
        for (at, (op, weight)) in self.parts.iter().enumerate() {
            let plus = if at == 0 { "" } else { "+" };
            write!(f, "{plus}{}={weight}", op.as_str())?;
        }
        Ok(())
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Mix, String> {
        let mut parts = Vec::new();
        for part in text.split('+') {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let op = Op::ALL.into_iter().find(|op| op.as_str() == name);
            let op = op.ok_or_else(|| {
                format!(
                    "no such call: {name}; there are open, tokenize, redeem, describe, \
                     tokenize-stream and redeem-stream"
                )
            })?;
            match weight.parse() {
                Ok(weight @ 1..=1_000_000) => parts.push((op, weight)),
                _ => return Err(format!("{name}: a weight is a number from 1 to 1,000,000")),
            }
        }
        if parts.len() > 1 && parts.iter().any(|(op, _)| op.is_stream()) {
            return Err("a stream is measured by itself".to_owned());
        }
        Ok(Mix { parts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_read_written_and_picked_by_weight() {
        let mix: Mix = "tokenize=1+redeem=3".parse().expect("a mix");
        assert_eq!(mix.to_string(), "tokenize=1+redeem=3");
        let redeems = (0..400).filter(|d| mix.pick(*d) == Op::Redeem).count();
        assert_eq!(redeems, 300);
        assert!((mix.share(Op::Redeem) - 0.75).abs() < 1e-9);
        assert_eq!(
            "redeem".parse::<Mix>().expect("a mix").to_string(),
            "redeem"
        );
        let stream: Mix = "redeem-stream".parse().expect("a mix");
        assert_eq!(
            (stream.stream(), mix.stream()),
            (Some(Op::RedeemStream), None)
        );
        for bad in [
            "",
            "pay",
            "redeem=0",
            "redeem=x",
            "redeem+",
            "redeem+redeem-stream",
        ] {
            assert!(bad.parse::<Mix>().is_err(), "{bad}");
        }
    }
}
