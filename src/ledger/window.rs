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
        let begins_early = |from: Timestamp| {
            // The last moment before the window may lie in the month before.
            from.0 > 0 && month <= Timestamp(from.0 - 1).year_month()
        };
        let early = self.place == Place::Before && from_time.is_some_and(begins_early);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(from: &str, to: &str) -> Filter {
        Filter {
            from_time: Timestamp::parse(from),
            to_time: Timestamp::parse(to),
            ..Filter::default()
        }
    }

    #[test]
    fn whole_months_inside_the_window_cannot_be_closed() {
        let filter = filter("2026-11-01T00:00:00.000Z", "2027-02-01T00:00:00.000Z");
        let closed = |month| Window::new(&filter).closed(month);
        assert_eq!(closed((2026, 10)), Ok(()));
        assert_eq!(closed((2026, 11)), Err(Fault::Withheld));
        assert_eq!(closed((2027, 1)), Err(Fault::Withheld));
        assert_eq!(closed((2027, 2)), Ok(()));
    }

    #[test]
    fn a_month_that_the_window_cuts_may_hold_both() {
        let filter = filter("2026-11-01T00:00:00.001Z", "2026-11-30T23:59:59.999Z");
        let mut window = Window::new(&filter);
        assert_eq!(window.closed((2026, 11)), Ok(()));
        let mut one_sided = Filter {
            to_time: None,
            ..filter.clone()
        };
        let mut early_only = Window::new(&one_sided);
        assert_eq!(early_only.closed((2026, 11)), Ok(()));
        assert_eq!(early_only.shown(), Ok(()));
        assert_eq!(early_only.closed((2026, 11)), Err(Fault::Withheld));
        one_sided.from_time = None;
        let neither = Window::new(&one_sided).closed((2026, 11));
        assert_eq!(neither, Err(Fault::ClosedWithoutReason));
    }

    #[test]
    fn nothing_is_shown_after_what_was_closed_as_late() {
        let filter = filter("2026-11-10T00:00:00.000Z", "2026-11-20T00:00:00.000Z");
        let mut window = Window::new(&filter);
        for step in [Window::shown, |w: &mut Window<'_>| w.closed((2026, 11))] {
            assert_eq!(step(&mut window), Ok(()));
        }
        assert_eq!(window.closed((2026, 12)), Ok(()));
        assert_eq!(window.shown(), Err(Fault::HiddenByTime));
    }

    #[test]
    fn time_may_stand_still_but_never_falls() {
        let filter = Filter::default();
        let mut window = Window::new(&filter);
        assert_eq!(window.time(Timestamp(5)), Ok(()));
        assert_eq!(window.time(Timestamp(5)), Ok(()));
        assert_eq!(window.time(Timestamp(4)), Err(Fault::TimeRunsBack));
        assert_eq!(window.month((2026, 12)), Ok(()));
        assert_eq!(window.month((2026, 12)), Ok(()));
        assert_eq!(window.month((2026, 11)), Err(Fault::TimeRunsBack));
        assert_eq!(window.month((2027, 1)), Ok(()));
    }
}
