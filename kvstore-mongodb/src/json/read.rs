//! BSON to JSON text.

use std::io::Write as _;
use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Decimal128, RawBinaryRef, RawBsonRef, uuid};

use super::write::INTEGER_DECIMAL;

/// Why a BSON value has no JSON form, for people.
type Problem = &'static str;

const MALFORMED: Problem = "it is not BSON";

/// The server nests at most 180 deep; what does not come from one may not either.
const MAX_STORED_DEPTH: usize = 200;

/// The years 1 to 9999, in milliseconds since 1970.
const DATES: RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

/// Writes a BSON value as JSON text.
///
/// Types that JSON does not have come in their usual form: a date as RFC 3339 text, an `ObjectId` as
/// hexadecimal text, a UUID with hyphens, other binary as base64, a decimal as text, unless it is an integer
/// between `i64::MAX` and `u64::MAX`, as this crate writes them.
pub(crate) fn to_json(value: RawBsonRef<'_>) -> Result<Vec<u8>, Problem> {
    let mut out = Vec::with_capacity(128);
    write(&mut out, value, 0)?;
    Ok(out)
}

fn write(out: &mut Vec<u8>, value: RawBsonRef<'_>, depth: usize) -> Result<(), Problem> {
    if depth > MAX_STORED_DEPTH {
        return Err("it is nested too deep");
    }
    match value {
        RawBsonRef::Document(document) => {
            let mut separator = b'{';
            for element in document {
                let (name, value) = element.map_err(|_| MALFORMED)?;
                out.push(separator);
                separator = b',';
                text(out, name.as_str())?;
                out.push(b':');
                write(out, value, depth + 1)?;
            }
            end(out, separator, b'{', b'}');
        }
        RawBsonRef::Array(array) => {
            let mut separator = b'[';
            for value in array {
                out.push(separator);
                separator = b',';
                write(out, value.map_err(|_| MALFORMED)?, depth + 1)?;
            }
            end(out, separator, b'[', b']');
        }
        RawBsonRef::String(value) => text(out, value)?,
        RawBsonRef::Boolean(value) => print(out, format_args!("{value}")),
        RawBsonRef::Null => print(out, format_args!("null")),
        RawBsonRef::Int32(value) => print(out, format_args!("{value}")),
        RawBsonRef::Int64(value) => print(out, format_args!("{value}")),
        // With a point or an exponent, so that it stays a float; the shortest text that comes back exact.
        RawBsonRef::Double(value) if value.is_finite() => print(out, format_args!("{value:?}")),
        RawBsonRef::Double(_) => return Err("it has a float that is not finite"),
        RawBsonRef::Decimal128(value) => decimal(out, value)?,
        // Outside of these years the text would be that of the nearest date within.
        RawBsonRef::DateTime(value) if DATES.contains(&value.timestamp_millis()) => {
            text(out, &value.try_to_rfc3339_string().map_err(|_| MALFORMED)?)?;
        }
        RawBsonRef::DateTime(_) => return Err("it has a date outside of the years 1 to 9999"),
        RawBsonRef::ObjectId(value) => text(out, &value.to_hex())?,
        RawBsonRef::Binary(value) => text(out, &binary(value)?)?,
        _ => return Err("it has a BSON type that has no JSON form"),
    }
    Ok(())
}

/// Ends an object or array, whose beginning nothing has written when it is empty.
fn end(out: &mut Vec<u8>, separator: u8, begin: u8, end: u8) {
    if separator == begin {
        out.push(begin);
    }
    out.push(end);
}

fn print(out: &mut Vec<u8>, value: std::fmt::Arguments<'_>) {
    // Writing to memory does not fail.
    let _ = out.write_fmt(value);
}

fn text(out: &mut Vec<u8>, text: &str) -> Result<(), Problem> {
    serde_json::to_writer(out, text).map_err(|_| MALFORMED)
}

fn decimal(out: &mut Vec<u8>, value: Decimal128) -> Result<(), Problem> {
    let bits = u128::from_le_bytes(value.bytes());
    let (upper, lower) = (bits >> 64, bits & u128::from(u64::MAX));
    if upper == u128::from(INTEGER_DECIMAL) && lower > i64::MAX as u128 {
        print(out, format_args!("{lower}"));
        return Ok(());
    }
    text(out, &value.to_string())
}

fn binary(value: RawBinaryRef<'_>) -> Result<String, Problem> {
    match value.subtype {
        BinarySubtype::Generic | BinarySubtype::BinaryOld => Ok(STANDARD.encode(value.bytes)),
        BinarySubtype::Uuid => {
            let bytes = value
                .bytes
                .try_into()
                .map_err(|_| "it has a UUID that has not 16 bytes")?;
            Ok(uuid::Uuid::from_bytes(bytes).to_string())
        }
        _ => Err("it has binary data of a subtype that has no JSON form"),
    }
}
