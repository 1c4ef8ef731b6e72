//! Reads JSON text the same whatever features of `serde_json` are on in a build.
//!
//! With `arbitrary_precision`, a number read into "any type" (an untagged or flattened field) comes as a map
//! with one magic member, which most types refuse. Here it comes as the number that it is.

use serde::de::value::StringDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};

use super::{numbers, redact, reserved};
use crate::BoxError;

/// Whether numbers are held as text: with `arbitrary_precision`.
const AS_TEXT: bool = size_of::<serde_json::Number>() == size_of::<String>();

/// Decodes JSON text.
pub(super) fn decode<T: DeserializeOwned>(text: &[u8]) -> Result<T, BoxError> {
    if text.trim_ascii() == b"null" {
        return Err("it is null, which is not a value".into());
    }
    if numbers::has_inexact_integer(text) {
        return Err("it has an integer beyond 64 bits".into());
    }
    if reserved::is_in(text) {
        return Err(reserved::REFUSED.into());
    }
    let decoded = if AS_TEXT {
        let mut reader = serde_json::Deserializer::from_slice(text);
        let value = T::deserialize(Portable(&mut reader));
        value.and_then(|value| reader.end().map(|()| value))
    } else {
        serde_json::from_slice(text)
    };
    decoded.map_err(|error| redact::decoding(&error))
}

/// A deserializer, visitor, seed or access that passes on what it gets, wrapped the same way.
struct Portable<T>(T);

/// As `Portable`, for what was asked for "any type": there a map may be a number.
struct AnyVisitor<V>(V);

macro_rules! deserialize {
    ($($method:ident($($argument:ident: $type:ty),*);)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method($($argument,)* Portable(visitor))
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Portable<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(AnyVisitor(visitor))
    }

    deserialize! {
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_i128();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_option();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_seq();
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_map();
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_identifier();
        deserialize_ignored_any();
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

macro_rules! visit {
    ($($method:ident($type:ty);)*) => {$(
        fn $method<E: de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.0.$method(value)
        }
    )*};
}

macro_rules! visitor {
    ($wrapper:ident { $($visit_map:tt)* }) => {
        impl<'de, V: Visitor<'de>> Visitor<'de> for $wrapper<V> {
            type Value = V::Value;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.expecting(f)
            }

            visit! {
                visit_bool(bool);
                visit_i8(i8);
                visit_i16(i16);
                visit_i32(i32);
                visit_i64(i64);
                visit_i128(i128);
                visit_u8(u8);
                visit_u16(u16);
                visit_u32(u32);
                visit_u64(u64);
                visit_u128(u128);
                visit_f32(f32);
                visit_f64(f64);
                visit_char(char);
                visit_str(&str);
                visit_borrowed_str(&'de str);
                visit_string(String);
                visit_bytes(&[u8]);
                visit_borrowed_bytes(&'de [u8]);
                visit_byte_buf(Vec<u8>);
            }

            fn visit_none<E: de::Error>(self) -> Result<V::Value, E> {
                self.0.visit_none()
            }

            fn visit_unit<E: de::Error>(self) -> Result<V::Value, E> {
                self.0.visit_unit()
            }

            fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
                self.0.visit_some(Portable(inner))
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
                self.0.visit_newtype_struct(Portable(inner))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
                self.0.visit_seq(Portable(items))
            }

            fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
                self.0.visit_enum(Portable(variant))
            }

            $($visit_map)*
        }
    };
}

visitor! {
    Portable {
        fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
            self.0.visit_map(Portable(members))
        }
    }
}

visitor! {
    AnyVisitor {
        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<V::Value, A::Error> {
            let first: Option<String> = members.next_key()?;
            if first.as_deref() == Some(reserved::NUMBER) {
                return visit_number(self.0, &members.next_value::<String>()?);
            }
            self.0.visit_map(Resumed { first, rest: Portable(members) })
        }
    }
}

/// Shows a number as it is read without `arbitrary_precision`.
fn visit_number<'de, V: Visitor<'de>, E: de::Error>(visitor: V, text: &str) -> Result<V::Value, E> {
    if let Ok(number) = text.parse::<u64>() {
        return visitor.visit_u64(number);
    }
    match text.parse::<i64>() {
        Ok(number) if number != 0 => visitor.visit_i64(number),
        _ => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => visitor.visit_f64(number),
            _ => Err(E::custom("number out of range")),
        },
    }
}

/// The members of a map whose first name was read already.
struct Resumed<A> {
    first: Option<String>,
    rest: A,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Resumed<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        match self.first.take() {
            Some(name) => {
                let name: StringDeserializer<A::Error> = name.into_deserializer();
                seed.deserialize(name).map(Some)
            }
            None => self.rest.next_key_seed(seed),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.rest.next_value_seed(seed)
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Portable<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Portable(inner))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Portable<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Portable(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Portable<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        self.0.next_key_seed(Portable(seed))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Portable(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: EnumAccess<'de>> EnumAccess<'de> for Portable<A> {
    type Error = A::Error;
    type Variant = Portable<A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let (value, variant) = self.0.variant_seed(Portable(seed))?;
        Ok((value, Portable(variant)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Portable<A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.0.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.0.newtype_variant_seed(Portable(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.0.tuple_variant(len, Portable(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.0.struct_variant(fields, Portable(visitor))
    }
}
