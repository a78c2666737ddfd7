//! Payment details of any kind, and the bytes in which they are sealed (`docs/format.md`, section
//! 3). The security code has no field there: it can't be written.

use super::aba;
use super::assurance::Assurance;
use super::bic;
use super::card::Card;
use super::dk_account::{self, DkAccount};
use super::expiry::Expiry;
use super::giro::{self, Bankgiro, Plusgiro};
use super::iban::{self, IbanAccount};
use super::kind::DetailsKind;
use super::pan;
use super::se_account::{self, SeAccount};
use super::uk_account::{self, UkAccount};
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
    /// A bank account in the United Kingdom.
    UkAccount(UkAccount),
    /// A bank account in Sweden.
    SeAccount(SeAccount),
    /// A Swedish bankgiro.
    Bankgiro(Bankgiro),
    /// A Swedish plusgiro.
    Plusgiro(Plusgiro),
    /// A bank account in Denmark.
    DkAccount(DkAccount),
}

/// Added to the kind's byte when the fields that a kind got later follow. Without them the bytes
/// are what they always were.
const MORE: u8 = 128;

impl Details {
    /// The kind.
    pub fn kind(&self) -> DetailsKind {
        match self {
            Details::Card(_) => DetailsKind::Card,
            Details::Iban(_) => DetailsKind::Iban,
            Details::UsAccount(_) => DetailsKind::UsAccount,
            Details::UkAccount(_) => DetailsKind::UkAccount,
            Details::SeAccount(_) => DetailsKind::SeAccount,
            Details::Bankgiro(_) => DetailsKind::Bankgiro,
            Details::Plusgiro(_) => DetailsKind::Plusgiro,
            Details::DkAccount(_) => DetailsKind::DkAccount,
        }
    }

    /// The number that names the instrument, whole: for most accounts bank and account apart. What
    /// a fingerprint is made of, and what is released as `NUMBER`.
    pub fn number(&self) -> (&SecretText, Option<&SecretText>) {
        match self {
            Details::Card(card) => (&card.number, None),
            Details::Iban(account) => (&account.iban, None),
            Details::UsAccount(account) => (&account.routing_number, Some(&account.account_number)),
            Details::UkAccount(account) => (&account.sort_code, Some(&account.account_number)),
            Details::SeAccount(account) => {
                (&account.clearing_number, Some(&account.account_number))
            }
            Details::Bankgiro(giro) => (&giro.number, None),
            Details::Plusgiro(giro) => (&giro.number, None),
            Details::DkAccount(account) => (&account.reg_number, Some(&account.account_number)),
        }
    }

    /// How much is known of the number. For US accounts: of the routing number, since no other part
    /// of one has a check digit.
    pub fn assurance(&self) -> Assurance {
        match self {
            Details::Card(_)
            | Details::Iban(_)
            | Details::UsAccount(_)
            | Details::Bankgiro(_)
            | Details::Plusgiro(_) => Assurance::Checked,
            Details::UkAccount(account) => account.assurance,
            Details::SeAccount(account) => account.assurance,
            Details::DkAccount(_) => Assurance::NotChecked,
        }
    }

    /// The bytes that are sealed, without the padding around them: kind, then the fields in the
    /// order of `docs/format.md` section 3.
    pub fn encode(&self) -> SecretBuffer {
        let mut w = Writer::with_capacity(self.encoded_bytes_max());
        let kind = self.kind().as_u8();
        match self {
            Details::Card(card) => w
                .u8(kind)
                .str(card.number.expose())
                .u16(card.expiry.year)
                .u8(card.expiry.month)
                .str(card.holder.expose())
                .str(card.postal_code.expose())
                .str(card.address_line.expose()),
            Details::Iban(account) if account.bic.is_empty() => w
                .u8(kind)
                .str(account.iban.expose())
                .str(account.holder.expose()),
            Details::Iban(account) => w
                .u8(kind | MORE)
                .str(account.iban.expose())
                .str(account.holder.expose())
                .str(account.bic.expose()),
            Details::UsAccount(account) => w
                .u8(kind)
                .str(account.routing_number.expose())
                .str(account.account_number.expose())
                .str(account.holder.expose())
                .u8(account.account_type.as_u8()),
            Details::UkAccount(account) => w
                .u8(kind)
                .str(account.sort_code.expose())
                .str(account.account_number.expose())
                .str(account.holder.expose())
                .u8(account.assurance.as_u8()),
            Details::SeAccount(account) => w
                .u8(kind)
                .str(account.clearing_number.expose())
                .str(account.account_number.expose())
                .str(account.holder.expose())
                .u8(account.assurance.as_u8()),
            Details::Bankgiro(giro) => w
                .u8(kind)
                .str(giro.number.expose())
                .str(giro.holder.expose()),
            Details::Plusgiro(giro) => w
                .u8(kind)
                .str(giro.number.expose())
                .str(giro.holder.expose()),
            Details::DkAccount(account) => w
                .u8(kind)
                .str(account.reg_number.expose())
                .str(account.account_number.expose())
                .str(account.holder.expose()),
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
        let byte = r.u8()?;
        let kind = DetailsKind::from_u8(byte & !MORE)?;
        let more = byte & MORE != 0;
        if more && kind != DetailsKind::Iban {
            return Err(Malformed::new("this kind of details has no further fields"));
        }
        let details = match kind {
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
                holder: holder(&mut r)?,
                bic: match more {
                    true => shaped(r.str()?, bic::is_shaped, "BIC")?,
                    false => SecretText::copy_from(""),
                },
            }),
            DetailsKind::UsAccount => Details::UsAccount(UsAccount {
                routing_number: shaped(r.str()?, aba::is_shaped, "routing number")?,
                account_number: shaped(r.str()?, us_account::is_number_shaped, "account number")?,
                holder: holder(&mut r)?,
                account_type: UsAccountType::from_u8(r.u8()?)?,
            }),
            DetailsKind::UkAccount => Details::UkAccount(UkAccount {
                sort_code: shaped(r.str()?, uk_account::is_sort_code_shaped, "sort code")?,
                account_number: shaped(r.str()?, uk_account::is_account_shaped, "account number")?,
                holder: holder(&mut r)?,
                assurance: Assurance::from_u8(r.u8()?)?,
            }),
            DetailsKind::SeAccount => Details::SeAccount(SeAccount {
                clearing_number: shaped(r.str()?, se_account::is_clearing_shaped, "clearing")?,
                account_number: shaped(r.str()?, se_account::is_account_shaped, "account number")?,
                holder: holder(&mut r)?,
                assurance: Assurance::from_u8(r.u8()?)?,
            }),
            DetailsKind::Bankgiro => Details::Bankgiro(Bankgiro {
                number: shaped(r.str()?, giro::is_bankgiro_shaped, "bankgiro")?,
                holder: holder(&mut r)?,
            }),
            DetailsKind::Plusgiro => Details::Plusgiro(Plusgiro {
                number: shaped(r.str()?, giro::is_plusgiro_shaped, "plusgiro")?,
                holder: holder(&mut r)?,
            }),
            DetailsKind::DkAccount => Details::DkAccount(DkAccount {
                reg_number: shaped(r.str()?, dk_account::is_reg_shaped, "registration number")?,
                account_number: shaped(r.str()?, dk_account::is_account_shaped, "account number")?,
                holder: holder(&mut r)?,
            }),
        };
        r.end()?;
        Ok(details)
    }

    /// What a fingerprint is made of (`docs/format.md` section 3.1): the kind and the whole number,
    /// and nothing that differs between two who hand in the same one.
    pub fn identity(&self) -> SecretBuffer {
        let (first, second) = self.number();
        let mut w = Writer::with_capacity(IDENTITY_BYTES_MAX);
        w.u8(self.kind().as_u8()).str(first.expose());
        if let Some(second) = second {
            w.str(second.expose());
        }
        w.finish()
    }

    /// Enough room for [`Details::encode`] to write in one piece.
    fn encoded_bytes_max(&self) -> usize {
        const LENGTHS_AND_INTEGERS: usize = 32;
        let (first, second) = self.number();
        let rest = match self {
            Details::Card(card) => {
                card.holder.len() + card.postal_code.len() + card.address_line.len()
            }
            Details::Iban(account) => account.holder.len() + account.bic.len(),
            Details::UsAccount(account) => account.holder.len(),
            Details::UkAccount(account) => account.holder.len(),
            Details::SeAccount(account) => account.holder.len(),
            Details::Bankgiro(giro) => giro.holder.len(),
            Details::Plusgiro(giro) => giro.holder.len(),
            Details::DkAccount(account) => account.holder.len(),
        };
        LENGTHS_AND_INTEGERS + first.len() + second.map_or(0, SecretText::len) + rest
    }
}

/// Kind, two lengths, and the longest number: an IBAN.
const IDENTITY_BYTES_MAX: usize = 64;

fn holder(r: &mut Reader<'_>) -> Result<SecretText, Malformed> {
    shaped(r.str()?, |text| !text.is_empty(), "account holder")
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
            bic: text(""),
        })
    }

    fn iban_with_bic() -> Details {
        Details::Iban(IbanAccount {
            iban: text("NL91ABNA0417164300"),
            holder: text("J. de Vries"),
            bic: text("ABNANL2A"),
        })
    }

    fn uk_account(assurance: Assurance) -> Details {
        Details::UkAccount(UkAccount {
            sort_code: text("990101"),
            account_number: text("20029772"),
            holder: text("A. Smith"),
            assurance,
        })
    }

    fn se_account(assurance: Assurance) -> Details {
        Details::SeAccount(SeAccount {
            clearing_number: text("5839"),
            account_number: text("8257466"),
            holder: text("A. Ek"),
            assurance,
        })
    }

    fn bankgiro() -> Details {
        Details::Bankgiro(Bankgiro {
            number: text("50501055"),
            holder: text("A. Ek"),
        })
    }

    fn plusgiro() -> Details {
        Details::Plusgiro(Plusgiro {
            number: text("2865434"),
            holder: text("A. Ek"),
        })
    }

    fn dk_account() -> Details {
        Details::DkAccount(DkAccount {
            reg_number: text("0040"),
            account_number: text("0440116243"),
            holder: text("A. Lund"),
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
        assert_eq!(written(iban_with_bic()), vector("ok_iban_with_bic"));
        let checked = Assurance::Checked;
        assert_eq!(written(uk_account(checked)), vector("ok_uk_checked"));
        let presumed = uk_account(Assurance::PresumedValid);
        assert_eq!(written(presumed), vector("ok_uk_presumed_valid"));
        assert_eq!(written(se_account(checked)), vector("ok_se_checked"));
        let not_checked = se_account(Assurance::NotChecked);
        assert_eq!(written(not_checked), vector("ok_se_not_checked"));
        assert_eq!(written(bankgiro()), vector("ok_bankgiro"));
        assert_eq!(written(plusgiro()), vector("ok_plusgiro"));
        assert_eq!(written(dk_account()), vector("ok_dk"));
    }

    #[test]
    fn a_value_cut_at_any_byte_is_refused() {
        let all = [
            card("4111111111111111"),
            iban(),
            us_account("123456789", UsAccountType::Checking),
            iban_with_bic(),
            uk_account(Assurance::Checked),
            se_account(Assurance::NotChecked),
            bankgiro(),
            plusgiro(),
            dk_account(),
        ];
        for details in all {
            let bytes = details.encode();
            assert!(bytes.len() <= details.encoded_bytes_max());
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
        let visa = card("4111111111111111").mask();
        assert_eq!((visa.kind, visa.expiry), (DetailsKind::Card, expiry));
        let unchecked = Assurance::NotChecked;
        let presumed = Assurance::PresumedValid;
        for (details, number, brand, country, bank, assurance) in [
            (
                card("4111111111111111"),
                "411111******1111",
                "visa",
                "",
                "",
                Assurance::Checked,
            ),
            (
                card("9999999999999999"),
                "999999******9999",
                "",
                "",
                "",
                Assurance::Checked,
            ),
            (
                iban(),
                "NL91 **** **** **43 00",
                "",
                "NL",
                "ABNA",
                Assurance::Checked,
            ),
            (
                us_account("123456789", UsAccountType::Checking),
                "021000021 ****6789",
                "",
                "US",
                "021000021",
                Assurance::Checked,
            ),
            (
                uk_account(presumed),
                "990101 ****9772",
                "",
                "GB",
                "990101",
                presumed,
            ),
            (
                se_account(unchecked),
                "5839 ****66",
                "",
                "SE",
                "5839",
                unchecked,
            ),
            (bankgiro(), "****1055", "", "SE", "", Assurance::Checked),
            (plusgiro(), "****34", "", "SE", "", Assurance::Checked),
            (dk_account(), "0040 ****6243", "", "DK", "0040", unchecked),
        ] {
            let masked = details.mask();
            assert_eq!(masked.kind, details.kind());
            assert_eq!(masked.number, number);
            assert_eq!(masked.brand, brand, "{number}");
            assert_eq!(masked.country, country, "{number}");
            assert_eq!(masked.bank, bank, "{number}");
            assert_eq!(masked.assurance, assurance, "{number}");
        }
    }

    /// The same number gives the same, whoever holds it and whatever came with it; another kind
    /// with the same digits doesn't.
    #[test]
    fn identity_is_kind_and_whole_number_and_nothing_else() {
        let same = |a: Details, b: Details| a.identity() == b.identity();
        assert!(same(iban(), iban_with_bic()));
        let (checked, presumed) = (Assurance::Checked, Assurance::PresumedValid);
        assert!(same(uk_account(checked), uk_account(presumed)));
        let (checking, savings) = (UsAccountType::Checking, UsAccountType::Savings);
        assert!(same(
            us_account("1234", checking),
            us_account("1234", savings)
        ));
        assert!(!same(
            us_account("1234", checking),
            us_account("12345", checking)
        ));
        assert!(!same(card("4111111111111111"), card("4242424242424242")));
        let as_plusgiro = Details::Plusgiro(Plusgiro {
            number: text("50501055"),
            holder: text("A. Ek"),
        });
        assert!(!same(bankgiro(), as_plusgiro));
        assert_eq!(
            card("4111111111111111").identity()[..],
            b"\x01\x00\x00\x00\x104111111111111111"[..]
        );
        assert_eq!(
            dk_account().identity()[..],
            b"\x08\x00\x00\x00\x040040\x00\x00\x00\x0a0440116243"[..]
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
        assert_eq!(last_four(uk_account(Assurance::Checked)), "9772");
        assert_eq!(last_four(se_account(Assurance::Checked)), "66");
        assert_eq!(last_four(bankgiro()), "1055");
        assert_eq!(last_four(plusgiro()), "34");
        assert_eq!(last_four(dk_account()), "6243");
    }
}
