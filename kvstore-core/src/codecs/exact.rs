//! JSON text that comes back as it was, or an error.
//!
//! `serde_json` writes `null` for a float that is not finite, and orders members and prints numbers by the
//! features that any crate in a build may switch on.

use std::cell::Cell;
use std::io;

use bytes::Bytes;
use serde::ser::{Serialize, Serializer};
use serde_json::ser::{CompactFormatter, Formatter};
use serde_json::{Map, Value};

use super::{finite, numbers, redact, reserved};
use crate::BoxError;

const MAX_DEPTH: usize = 100;
const TOO_DEEP: &str = "the value is nested more than 100 deep";
const TOO_BIG: &str = "an integer is beyond 64 bits; store it as text";
const TOO_FINE: &str = "a number has more digits than a 64-bit float holds; store it as text";

/// Encodes a value as JSON text, exactly.
pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, BoxError> {
    let wrote_null = Cell::new(false);
    let exact = Exact {
        depth: 0,
        in_name: false,
        wrote_null: &wrote_null,
    };
    let mut text = Vec::with_capacity(128);
    let mut writer = serde_json::Serializer::with_formatter(&mut text, exact);
    value.serialize(&mut writer).map_err(redact::encoding)?;
    // A float that is not finite is written as a null: only where there is one is it worth a look.
    if wrote_null.get() && !finite::only(value) {
        return Err("a float is not finite; JSON has no NaN and no infinities".into());
    }
    if text.trim_ascii() == b"null" {
        return Err("null is not a value; to have none, delete the key".into());
    }
    Ok(text.into())
}

/// Writes as `CompactFormatter`, and refuses what would not come back.
struct Exact<'a> {
    depth: usize,
    in_name: bool,
    wrote_null: &'a Cell<bool>,
}

impl Exact<'_> {
    fn descend(&mut self, levels: usize) -> io::Result<()> {
        if self.depth + levels > MAX_DEPTH {
            return Err(io::Error::other(TOO_DEEP));
        }
        Ok(())
    }
}

impl Formatter for Exact<'_> {
    fn write_null<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.wrote_null.set(true);
        CompactFormatter.write_null(writer)
    }

    fn write_i128<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: i128) -> io::Result<()> {
        if value < i64::MIN.into() || value > u64::MAX.into() {
            return Err(io::Error::other(TOO_BIG));
        }
        CompactFormatter.write_i128(writer, value)
    }

    fn write_u128<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: u128) -> io::Result<()> {
        if value > u64::MAX.into() {
            return Err(io::Error::other(TOO_BIG));
        }
        CompactFormatter.write_u128(writer, value)
    }

    /// A number that `serde_json` holds as text, which it does with `arbitrary_precision`: written as it would
    /// be without.
    fn write_number_str<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        value: &str,
    ) -> io::Result<()> {
        if let Ok(number) = value.parse::<u64>() {
            return CompactFormatter.write_u64(writer, number);
        }
        if let Ok(number) = value.parse::<i64>()
            && number != 0
        {
            return CompactFormatter.write_i64(writer, number);
        }
        if numbers::is_integer(value) && value != "-0" {
            return Err(io::Error::other(TOO_BIG));
        }
        let number: f64 = value.parse().map_err(io::Error::other)?;
        if !numbers::is_exactly(value, number) {
            return Err(io::Error::other(TOO_FINE));
        }
        CompactFormatter.write_f64(writer, number)
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.descend(1)?;
        self.depth += 1;
        CompactFormatter.begin_array(writer)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        CompactFormatter.end_array(writer)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.descend(1)?;
        self.depth += 1;
        CompactFormatter.begin_object(writer)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        CompactFormatter.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.in_name = true;
        CompactFormatter.begin_object_key(writer, first)
    }

    fn end_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.in_name = false;
        CompactFormatter.end_object_key(writer)
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if self.in_name && reserved::is_reserved(fragment) {
            return Err(io::Error::other(reserved::REFUSED));
        }
        CompactFormatter.write_string_fragment(writer, fragment)
    }

    /// JSON text inside a value (`RawValue`): checked, since it is not written token by token.
    fn write_raw_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        self.descend(numbers::nesting(fragment))?;
        if numbers::has_inexact_integer(fragment.as_bytes()) {
            return Err(io::Error::other(TOO_BIG));
        }
        if reserved::is_in(fragment.as_bytes()) {
            return Err(io::Error::other(reserved::REFUSED));
        }
        writer.write_all(fragment.as_bytes())
    }
}

/// A JSON object with its members in the order of their names, at every level, as it has without the
/// `preserve_order` of `serde_json`.
pub(super) struct Sorted<'a>(pub(super) &'a Map<String, Value>);

struct SortedValue<'a>(&'a Value);

impl Serialize for Sorted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let members = self
            .0
            .iter()
            .map(|(name, value)| (name, SortedValue(value)));
        if self.0.keys().is_sorted() {
            return serializer.collect_map(members);
        }
        let mut members: Vec<_> = members.collect();
        members.sort_unstable_by_key(|(name, _)| *name);
        serializer.collect_map(members)
    }
}

impl Serialize for SortedValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(members) => Sorted(members).serialize(serializer),
            Value::Array(items) => serializer.collect_seq(items.iter().map(SortedValue)),
            other => other.serialize(serializer),
        }
    }
}
