//! Payment details of any kind, and the bytes in which they are sealed (`docs/format.md`, section
//! 3). The security code has no field there: it can't be written.

use super::aba;
use super::card::Card;
use super::expiry::Expiry;
use super::iban::{self, IbanAccount};
use super::mask::{self, Masked};
use super::pan::{self, Brand};
use super::us_account::{self, UsAccount, UsAccountType};
use crate::codec::{Malformed, Reader, Writer};
use crate::secret::{SecretBuffer, SecretText};

/// One payment instrument.
pub enum Details {
    /// A payment card.
    Card(Card),
    /// A bank account named by its IBAN.
    Iban(IbanAccount),
    /// A bank account in the United States.
    UsAccount(UsAccount),
}

/// What kind of instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DetailsKind {
    /// A payment card.
    Card = 1,
    /// A bank account named by its IBAN.
    Iban = 2,
    /// A bank account in the United States.
    UsAccount = 3,
}

impl DetailsKind {
    /// The byte of `docs/format.md` sections 3 and 4.1, which is also the number in the proto.
    pub fn as_u8(self) -> u8 {
        self as u8
    }

    /// Reads that byte.
    ///
    /// # Errors
    /// When it is no kind's.
    pub fn from_u8(byte: u8) -> Result<DetailsKind, Malformed> {
        match byte {
            1 => Ok(DetailsKind::Card),
            2 => Ok(DetailsKind::Iban),
            3 => Ok(DetailsKind::UsAccount),
            _ => Err(Malformed::new("unknown kind of payment details")),
        }
    }

    /// Its name: `card`, `iban` or `us_account`.
    pub fn as_str(self) -> &'static str {
        match self {
            DetailsKind::Card => "card",
            DetailsKind::Iban => "iban",
            DetailsKind::UsAccount => "us_account",
        }
    }
}

impl Details {
    /// The kind.
    pub fn kind(&self) -> DetailsKind {
        match self {
            Details::Card(_) => DetailsKind::Card,
            Details::Iban(_) => DetailsKind::Iban,
            Details::UsAccount(_) => DetailsKind::UsAccount,
        }
    }

    /// The bytes that are sealed, without the padding around them: kind, then the fields in the
    /// order of `docs/format.md` section 3.
    pub fn encode(&self) -> SecretBuffer {
        let mut w = Writer::with_capacity(self.encoded_bytes_max());
        w.u8(self.kind().as_u8());
        match self {
            Details::Card(card) => w
                .str(card.number.expose())
                .u16(card.expiry.year)
                .u8(card.expiry.month)
                .str(card.holder.expose())
                .str(card.postal_code.expose())
                .str(card.address_line.expose()),
            Details::Iban(account) => w.str(account.iban.expose()).str(account.holder.expose()),
            Details::UsAccount(account) => w
                .str(account.routing_number.expose())
                .str(account.account_number.expose())
                .str(account.holder.expose())
                .u8(account.account_type.as_u8()),
        };
        w.finish()
    }

    /// Reads what [`Details::encode`] wrote. Numbers must have their shape, since masking relies on
    /// it; check digits were checked on the way in, and the seal vouches for them since.
    ///
    /// # Errors
    /// When a field is missing, left over or out of shape. No value is said.
    pub fn decode(bytes: &[u8]) -> Result<Details, Malformed> {
        let mut r = Reader::new(bytes);
        let details = match DetailsKind::from_u8(r.u8()?)? {
            DetailsKind::Card => Details::Card(Card {
                number: shaped(r.str()?, pan::is_shaped, "card number")?,
                expiry: Expiry::from_parts(r.u16()?, r.u8()?)
                    .ok_or(Malformed::new("card expiry"))?,
                holder: SecretText::copy_from(r.str()?),
                postal_code: SecretText::copy_from(r.str()?),
                address_line: SecretText::copy_from(r.str()?),
            }),
            DetailsKind::Iban => Details::Iban(IbanAccount {
                iban: shaped(r.str()?, iban::is_shaped, "IBAN")?,
                holder: shaped(r.str()?, is_present, "account holder")?,
            }),
            DetailsKind::UsAccount => Details::UsAccount(UsAccount {
                routing_number: shaped(r.str()?, aba::is_shaped, "routing number")?,
                account_number: shaped(r.str()?, us_account::is_number_shaped, "account number")?,
                holder: shaped(r.str()?, is_present, "account holder")?,
                account_type: UsAccountType::from_u8(r.u8()?)?,
            }),
        };
        r.end()?;
        Ok(details)
    }

    /// What may be shown without redeeming (PCI DSS 3.4.1).
    pub fn mask(&self) -> Masked {
        let (number, brand, country, expiry) = match self {
            Details::Card(card) => {
                let number = card.number.expose();
                let brand = Brand::of(number).map_or("", Brand::as_str);
                (mask::card_number(number), brand, "", Some(card.expiry))
            }
            Details::Iban(account) => {
                let iban = account.iban.expose();
                let country = iban.get(..2).unwrap_or_default();
                (mask::iban(iban), "", country, None)
            }
            Details::UsAccount(account) => {
                let number = mask::us_account(
                    account.routing_number.expose(),
                    account.account_number.expose(),
                );
                (number, "", "US", None)
            }
        };
        Masked {
            kind: self.kind(),
            number,
            brand: brand.to_owned(),
            country: country.to_owned(),
            expiry,
        }
    }

    /// The last four characters of the number, as a party may get them that was not granted the
    /// number: at least four more stay hidden, so a US account of 6 or 7 digits gives two and a
    /// shorter one none.
    pub fn last_four(&self) -> SecretText {
        let number = match self {
            Details::Card(card) => &card.number,
            Details::Iban(account) => &account.iban,
            Details::UsAccount(account) => &account.account_number,
        };
        SecretText::copy_from(mask::last(number.expose()))
    }

    /// Enough room for [`Details::encode`] to write in one piece.
    fn encoded_bytes_max(&self) -> usize {
        const LENGTHS_AND_INTEGERS: usize = 32;
        let text = match self {
            Details::Card(card) => {
                card.number.len()
                    + card.holder.len()
                    + card.postal_code.len()
                    + card.address_line.len()
            }
            Details::Iban(account) => account.iban.len() + account.holder.len(),
            Details::UsAccount(account) => {
                account.routing_number.len() + account.account_number.len() + account.holder.len()
            }
        };
        LENGTHS_AND_INTEGERS + text
    }
}

fn is_present(text: &str) -> bool {
    !text.is_empty()
}

fn shaped(
    text: &str,
    is_shaped: fn(&str) -> bool,
    what: &'static str,
) -> Result<SecretText, Malformed> {
    if is_shaped(text) {
        Ok(SecretText::copy_from(text))
    } else {
        Err(Malformed::new(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payment::vectors;

    fn text(text: &str) -> SecretText {
        SecretText::copy_from(text)
    }

    fn card(number: &str) -> Details {
        Details::Card(Card {
            number: text(number),
            expiry: Expiry {
                year: 2031,
                month: 12,
            },
            holder: text("A. Bäcker"),
            postal_code: text("1012 AB"),
            address_line: text("Dam 1"),
        })
    }

    fn iban() -> Details {
        Details::Iban(IbanAccount {
            iban: text("NL91ABNA0417164300"),
            holder: text("J. de Vries"),
        })
    }

    fn us_account(number: &str, account_type: UsAccountType) -> Details {
        Details::UsAccount(UsAccount {
            routing_number: text("021000021"),
            account_number: text(number),
            holder: text("Pat Doe"),
            account_type,
        })
    }

    #[test]
    fn vectors_are_read_and_written_to_the_byte() {
        for [name, hex] in vectors::rows(include_str!("../../tests/vectors/payment/details.tsv")) {
            let bytes = vectors::hex(hex);
            match Details::decode(&bytes) {
                Ok(details) => {
                    assert!(name.starts_with("ok_"), "{name}");
                    assert_eq!(*details.encode(), bytes, "{name}");
                }
                Err(_) => assert!(name.starts_with("fail_"), "{name}"),
            }
        }
    }

    #[test]
    fn each_kind_is_written_as_the_format_says() {
        let vector = |wanted| {
            vectors::rows(include_str!("../../tests/vectors/payment/details.tsv"))
                .find(|[name, _]: &[&str; 2]| *name == wanted)
                .map(|[_, hex]| vectors::hex(hex))
        };
        let written = |details: Details| Some(details.encode().to_vec());
        assert_eq!(written(card("4111111111111111")), vector("ok_card"));
        assert_eq!(written(iban()), vector("ok_iban"));
        let checking = us_account("123456789", UsAccountType::Checking);
        assert_eq!(written(checking), vector("ok_us_checking"));
        let savings = us_account("123456789", UsAccountType::Savings);
        assert_eq!(written(savings), vector("ok_us_savings"));
    }

    #[test]
    fn a_value_cut_at_any_byte_is_refused() {
        let all = [
            card("4111111111111111"),
            iban(),
            us_account("123456789", UsAccountType::Checking),
        ];
        for details in all {
            let bytes = details.encode();
            for cut in 0..bytes.len() {
                assert!(Details::decode(&bytes[..cut]).is_err(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn the_largest_details_are_written_in_one_piece_and_stay_small() {
        let details = Details::Card(Card {
            number: text("6205500000000000004"),
            expiry: Expiry {
                year: 9999,
                month: 12,
            },
            holder: text(&"\u{1f980}".repeat(crate::limits::CARD_HOLDER_CHARS_MAX)),
            postal_code: text(&"1".repeat(crate::limits::POSTAL_CODE_CHARS_MAX)),
            address_line: text(&"\u{1f980}".repeat(crate::limits::ADDRESS_LINE_CHARS_MAX)),
        });
        let bytes = details.encode();
        assert!(bytes.len() <= details.encoded_bytes_max());
        // Four of them, padded and sealed, must fit a row of 7,000 bytes.
        assert!(bytes.len() <= 640, "{}", bytes.len());
        assert!(Details::decode(&bytes).is_ok());
    }

    #[test]
    fn each_kind_is_masked() {
        let expiry = Some(Expiry {
            year: 2031,
            month: 12,
        });
        let masked = |number: &str, kind, brand: &str, country: &str, expiry| Masked {
            kind,
            number: number.to_owned(),
            brand: brand.to_owned(),
            country: country.to_owned(),
            expiry,
        };
        assert_eq!(
            card("4111111111111111").mask(),
            masked("411111******1111", DetailsKind::Card, "visa", "", expiry)
        );
        assert_eq!(
            card("9999999999999999").mask(),
            masked("999999******9999", DetailsKind::Card, "", "", expiry)
        );
        assert_eq!(
            iban().mask(),
            masked("NL91 **** **** **43 00", DetailsKind::Iban, "", "NL", None)
        );
        assert_eq!(
            us_account("123456789", UsAccountType::Checking).mask(),
            masked("021000021 ****6789", DetailsKind::UsAccount, "", "US", None)
        );
    }

    #[test]
    fn last_four_hides_at_least_four() {
        let last_four = |details: Details| details.last_four().expose().to_owned();
        assert_eq!(last_four(card("4111111111111111")), "1111");
        assert_eq!(last_four(iban()), "4300");
        for (number, last) in [("12345678", "5678"), ("123456", "56"), ("12345", "")] {
            assert_eq!(last_four(us_account(number, UsAccountType::Savings)), last);
        }
    }

    #[test]
    fn kinds_have_their_numbers_and_names() {
        for (byte, name) in [(1, "card"), (2, "iban"), (3, "us_account")] {
            let kind = DetailsKind::from_u8(byte);
            assert_eq!(kind.map(DetailsKind::as_str), Ok(name));
            assert_eq!(kind.map(DetailsKind::as_u8), Ok(byte));
        }
        for byte in (0..=255).filter(|byte| !(1..=3).contains(byte)) {
            assert!(DetailsKind::from_u8(byte).is_err());
        }
    }
}
