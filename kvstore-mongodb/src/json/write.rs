//! JSON text to BSON.

use std::borrow::Cow;
use std::io::Write as _;

use mongodb::bson::spec::ElementType;

use super::MAX_DEPTH;
use crate::raw::{begin_document, end_document, string};

/// A BSON value: its type and its bytes, without a name.
pub(crate) struct Payload {
    pub(crate) kind: ElementType,
    pub(crate) bytes: Vec<u8>,
}

/// Why JSON text cannot be stored, for people.
type Problem = &'static str;

pub(super) const NOT_JSON: Problem = "the value is not JSON";

/// The sign and exponent of a `Decimal128` that is a non-negative integer, its upper eight bytes; the lower
/// eight are the integer.
pub(super) const INTEGER_DECIMAL: u64 = 0x3040 << 48;

/// Writes a JSON text as BSON: integers as 32 or 64 bits, by size, or `Decimal128` above `i64::MAX`; all other
/// numbers as floats.
pub(crate) fn to_bson(text: &[u8]) -> Result<Payload, Problem> {
    let text = str::from_utf8(text).map_err(|_| NOT_JSON)?;
    let mut parser = Parser {
        text,
        at: 0,
        out: Vec::with_capacity(text.len() + text.len() / 4 + 16),
    };
    let kind = parser.value(0)?;
    parser.skip_space();
    match parser.at == text.len() {
        true => Ok(Payload {
            kind,
            bytes: parser.out,
        }),
        false => Err(NOT_JSON),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    out: Vec<u8>,
}

impl<'a> Parser<'a> {
    /// Writes the value at this place, without type and name, and answers its type.
    fn value(&mut self, depth: usize) -> Result<ElementType, Problem> {
        match self.peek()? {
            b'{' => {
                self.items(depth, b'}', |parser, _| {
                    let name = parser.string()?;
                    if name.contains('\0') {
                        return Err("the name of a member has a NUL, which MongoDB cannot hold");
                    }
                    parser.out.extend_from_slice(name.as_bytes());
                    parser.expect(b':')
                })?;
                Ok(ElementType::EmbeddedDocument)
            }
            b'[' => {
                self.items(depth, b']', |parser, index| {
                    // Writing to memory does not fail.
                    write!(parser.out, "{index}").map_err(|_| NOT_JSON)
                })?;
                Ok(ElementType::Array)
            }
            b'"' => {
                let text = self.string()?;
                string(&mut self.out, text.as_bytes());
                Ok(ElementType::String)
            }
            b't' => self.word("true", &[1], ElementType::Boolean),
            b'f' => self.word("false", &[0], ElementType::Boolean),
            b'n' => self.word("null", &[], ElementType::Null),
            _ => self.number(),
        }
    }

    /// Writes what stands between brackets; `name` writes an item's name, without its NUL.
    fn items(
        &mut self,
        depth: usize,
        end: u8,
        mut name: impl FnMut(&mut Self, usize) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        if depth == MAX_DEPTH {
            return Err("the value is nested more than 100 deep");
        }
        self.at += 1;
        let start = begin_document(&mut self.out);
        let mut index = 0;
        while self.peek()? != end {
            if index > 0 {
                self.expect(b',')?;
            }
            // The type is known when the value is written.
            let kind = self.out.len();
            self.out.push(0);
            name(self, index)?;
            self.out.push(0);
            self.out[kind] = self.value(depth + 1)? as u8;
            index += 1;
        }
        self.at += 1;
        end_document(&mut self.out, start);
        Ok(())
    }

    fn number(&mut self) -> Result<ElementType, Problem> {
        let rest = &self.text[self.at..];
        let in_number = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
        let number = &rest[..rest.find(|c| !in_number(c)).unwrap_or(rest.len())];
        if !is_number(number) {
            return Err(NOT_JSON);
        }
        self.at += number.len();
        // `-0` has a sign that integers have not.
        if number.contains(['.', 'e', 'E']) || number == "-0" {
            let float: f64 = number.parse().map_err(|_| NOT_JSON)?;
            if !float.is_finite() {
                return Err("a number is beyond what a 64-bit float holds");
            }
            self.out.extend_from_slice(&float.to_le_bytes());
            return Ok(ElementType::Double);
        }
        if let Ok(integer) = number.parse::<i32>() {
            self.out.extend_from_slice(&integer.to_le_bytes());
            Ok(ElementType::Int32)
        } else if let Ok(integer) = number.parse::<i64>() {
            self.out.extend_from_slice(&integer.to_le_bytes());
            Ok(ElementType::Int64)
        } else if let Ok(integer) = number.parse::<u64>() {
            self.out.extend_from_slice(&integer.to_le_bytes());
            self.out.extend_from_slice(&INTEGER_DECIMAL.to_le_bytes());
            Ok(ElementType::Decimal128)
        } else {
            Err("an integer is beyond 64 bits; store it as text")
        }
    }

    /// Reads a string.
    fn string(&mut self) -> Result<Cow<'a, str>, Problem> {
        let rest = self.text[self.at..].strip_prefix('"').ok_or(NOT_JSON)?;
        let mut plain = true;
        let mut bytes = rest.bytes().enumerate();
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'"' if plain => {
                    self.at += at + 2;
                    return Ok(Cow::Borrowed(&rest[..at]));
                }
                b'"' => {
                    let quoted = &self.text[self.at..self.at + at + 2];
                    self.at += quoted.len();
                    let text = serde_json::from_str(quoted).map_err(|_| NOT_JSON)?;
                    return Ok(Cow::Owned(text));
                }
                b'\\' => {
                    plain = false;
                    bytes.next();
                }
                0..0x20 => return Err(NOT_JSON),
                _ => {}
            }
        }
        Err(NOT_JSON)
    }

    fn word(
        &mut self,
        word: &str,
        payload: &[u8],
        kind: ElementType,
    ) -> Result<ElementType, Problem> {
        if !self.text[self.at..].starts_with(word) {
            return Err(NOT_JSON);
        }
        self.at += word.len();
        self.out.extend_from_slice(payload);
        Ok(kind)
    }

    fn expect(&mut self, byte: u8) -> Result<(), Problem> {
        if self.peek()? != byte {
            return Err(NOT_JSON);
        }
        self.at += 1;
        self.peek().map(drop)
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Result<u8, Problem> {
        self.skip_space();
        self.text.as_bytes().get(self.at).copied().ok_or(NOT_JSON)
    }

    fn skip_space(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest
            .iter()
            .take_while(|byte| b" \t\r\n".contains(byte))
            .count();
    }
}

/// Whether it is a number as JSON writes one: the parsers of Rust take more than these.
fn is_number(text: &str) -> bool {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let mantissa = mantissa.strip_prefix('-').unwrap_or(mantissa);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && digits(fraction)
        && digits(exponent)
}
