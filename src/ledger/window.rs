//! The time filter, as far as it can be checked. No facet proves an entry's time; but time never
//! falls along the ledger, so the closed entries have to lie before and after the shown ones, and
//! an entry's month is proven by its bucket.

use super::fault::Fault;
use super::filter::Filter;
use crate::clock::Timestamp;

type Month = (i16, u8);

/// Where along the time window the lines are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Before,
    Inside,
    After,
}

/// Follows time along an export's lines.
pub(super) struct Window<'a> {
    filter: &'a Filter,
    place: Place,
    month: Option<Month>,
    at: Timestamp,
}

impl<'a> Window<'a> {
    pub fn new(filter: &'a Filter) -> Window<'a> {
        Window {
            filter,
            place: Place::Before,
            month: None,
            at: Timestamp(0),
        }
    }

    /// Any line: its bucket's month never falls.
    pub fn month(&mut self, month: Month) -> Result<(), Fault> {
        if self.month.is_some_and(|last| month < last) {
            return Err(Fault::TimeRunsBack);
        }
        self.month = Some(month);
        Ok(())
    }

    /// An open line, whether it matches the filter or not: its time never falls.
    pub fn time(&mut self, at: Timestamp) -> Result<(), Fault> {
        if at < self.at {
            return Err(Fault::TimeRunsBack);
        }
        self.at = at;
        Ok(())
    }

    /// An open line that matches the filter.
    pub fn shown(&mut self) -> Result<(), Fault> {
        if self.place == Place::After {
            return Err(Fault::HiddenByTime);
        }
        self.place = Place::Inside;
        Ok(())
    }

    /// A line that is closed by time alone.
    pub fn closed(&mut self, month: Month) -> Result<(), Fault> {
        let Filter {
            from_time, to_time, ..
        } = self.filter;
        if from_time.is_none() && to_time.is_none() {
            return Err(Fault::ClosedWithoutReason);
        }
        // Early only before anything was shown and in a month that begins before the window; late
        // only in a month that does not end before the window's end.
        let early =
            self.place == Place::Before && from_time.is_some_and(|from| month <= from.year_month());
        let late = to_time.is_some_and(|to| month >= to.year_month());
        if early {
            return Ok(());
        }
        if late {
            self.place = Place::After;
            return Ok(());
        }
        Err(Fault::Withheld)
    }
}
