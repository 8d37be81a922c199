//! Reads JSON: the one way in which the pages and other clients turn an answer
//! into a type of this crate.
//!
//! `serde_json` writes a large piece of machine code for each pair of a type and
//! a source, and a browser has to download every one of them: a fifth of all
//! code there was that. This reader does its work in functions that know no
//! type; what is left for each type is little. It reads JSON as RFC 8259
//! describes it, structs from objects only, and unlike `serde_json` it has no
//! numbers as keys of maps.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize,
    de::{
        self, DeserializeSeed, Deserializer, EnumAccess, Expected, MapAccess, SeqAccess, Unexpected,
        VariantAccess, Visitor,
    },
    forward_to_deserialize_any,
};

/// Why a text could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(Box<str>);

type Result<T> = std::result::Result<T, Error>;

/// How deep values may be nested; what is deeper could overflow the stack.
const DEPTH: u32 = 128;

/// Reads a value that is the whole text.
///
/// # Errors
/// When the text is no JSON, or not of this type.
pub fn read<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T> {
    let mut reader = Reader { text, at: 0, depth: 0 };
    let value = T::deserialize(&mut reader)?;
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err(reader.wrong("the end")),
    }
}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string().into())
    }

    // Not serde's own words: they say what was there instead, and with that
    // bring the code that writes fractions.
    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("expected {expected}"))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("expected {expected}"))
    }
}

struct Reader<'de> {
    text: &'de str,
    at: usize,
    depth: u32,
}

impl<'de> Reader<'de> {
    #[cold]
    fn wrong(&self, expected: &str) -> Error {
        de::Error::custom(format_args!("expected {expected} at byte {}", self.at))
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is no white space.
    #[inline(never)]
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.byte() {
            self.at += 1;
        }
        self.byte()
    }

    /// Takes the byte if it is the next one.
    #[inline(never)]
    fn takes(&mut self, byte: u8) -> bool {
        let here = self.peek() == Some(byte);
        self.at += usize::from(here);
        here
    }

    /// Opens a list or an object.
    #[inline(never)]
    fn entries(&mut self, opening: u8, closing: u8) -> Result<Entries<'_, 'de>> {
        if self.depth == DEPTH {
            return Err(self.wrong("fewer levels"));
        }
        if !self.takes(opening) {
            return Err(self.wrong(if closing == b']' { "a list" } else { "an object" }));
        }
        self.depth += 1;
        Ok(Entries { reader: self, closing, first: true, closed: false })
    }

    #[inline(never)]
    fn colon(&mut self) -> Result<()> {
        if self.takes(b':') { Ok(()) } else { Err(self.wrong("a colon")) }
    }

    /// `null`, `true` or `false`.
    #[inline(never)]
    fn word(&mut self, word: &str) -> bool {
        self.peek();
        let here = self.text.as_bytes().get(self.at..).is_some_and(|rest| rest.starts_with(word.as_bytes()));
        if here {
            self.at += word.len();
        }
        here
    }

    #[inline(never)]
    fn boolean(&mut self) -> Result<bool> {
        if self.word("true") {
            Ok(true)
        } else if self.word("false") {
            Ok(false)
        } else {
            Err(self.wrong("true or false"))
        }
    }

    /// The digits of a number, and all else that it consists of.
    #[inline(never)]
    fn number(&mut self) -> Result<&'de str> {
        self.peek();
        let start = self.at;
        while let Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E') = self.byte() {
            self.at += 1;
        }
        let number = self.text.get(start..self.at).unwrap_or_default();
        match number.strip_prefix('-').unwrap_or(number).as_bytes() {
            [b'0', b'0'..=b'9', ..] => Err(self.wrong("no zero before a number")),
            [b'0'..=b'9', ..] => Ok(number),
            _ => Err(self.wrong("a number")),
        }
    }

    #[inline(never)]
    fn string(&mut self) -> Result<Cow<'de, str>> {
        if !self.takes(b'"') {
            return Err(self.wrong("a string"));
        }
        let mut whole = Cow::Borrowed("");
        loop {
            let start = self.at;
            while self.byte().is_some_and(|b| b >= b' ' && b != b'"' && b != b'\\') {
                self.at += 1;
            }
            // Both ends stand beside an ASCII character.
            let part = self.text.get(start..self.at).unwrap_or_default();
            if whole.is_empty() {
                whole = Cow::Borrowed(part);
            } else {
                whole.to_mut().push_str(part);
            }
            let end = self.byte();
            self.at += 1;
            match end {
                Some(b'"') => return Ok(whole),
                Some(b'\\') => whole.to_mut().push(self.escape()?),
                _ => return Err(self.wrong("the end of a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<char> {
        let kind = self.byte();
        self.at += 1;
        Ok(match kind {
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.code_point(),
            Some(plain @ (b'"' | b'\\' | b'/')) => plain.into(),
            _ => return Err(self.wrong("an escape sequence")),
        })
    }

    /// Four hexadecimal digits, or two times four where one code unit is not enough.
    fn code_point(&mut self) -> Result<char> {
        let mut code = self.code_unit()?;
        if (0xD800..0xDC00).contains(&code)
            && self.text.as_bytes().get(self.at..).is_some_and(|rest| rest.starts_with(br"\u"))
        {
            self.at += 2;
            let low = self.code_unit()?;
            if (0xDC00..0xE000).contains(&low) {
                code = 0x1_0000 + ((code - 0xD800) << 10) + (low - 0xDC00);
            }
        }
        char::from_u32(code).ok_or_else(|| self.wrong("a whole character"))
    }

    fn code_unit(&mut self) -> Result<u32> {
        let digits = self.text.get(self.at..self.at + 4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let unit = unit.ok_or_else(|| self.wrong("four hexadecimal digits"))?;
        self.at += 4;
        Ok(unit)
    }

    /// Passes over a value of any kind.
    #[inline(never)]
    fn skip(&mut self) -> Result<()> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'{') => {
                let mut object = self.entries(b'{', b'}')?;
                while object.more()? {
                    object.reader.string()?;
                    object.reader.colon()?;
                    object.reader.skip()?;
                }
                Ok(())
            }
            Some(b'[') => {
                let mut list = self.entries(b'[', b']')?;
                while list.more()? {
                    list.reader.skip()?;
                }
                Ok(())
            }
            Some(b't' | b'f') => self.boolean().map(drop),
            Some(b'n') if self.word("null") => Ok(()),
            _ => self.number().map(drop),
        }
    }

    fn integer<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value> {
        let number = self.number()?;
        match (number.parse(), number.parse()) {
            (Ok(natural), _) => visitor.visit_u64(natural),
            (_, Ok(integer)) => visitor.visit_i64(integer),
            _ => Err(self.wrong("a whole number")),
        }
    }

    fn fraction<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value> {
        match self.number()?.parse() {
            Ok(number) => visitor.visit_f64(number),
            Err(_) => Err(self.wrong("a number")),
        }
    }
}

macro_rules! forward {
    ($($from:ident)* => $to:ident) => {$(
        fn $from<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            self.$to(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.peek() {
            Some(b'"') => self.deserialize_str(visitor),
            Some(b'{') => self.deserialize_map(visitor),
            Some(b'[') => self.deserialize_seq(visitor),
            Some(b't' | b'f') => self.deserialize_bool(visitor),
            Some(b'n') => self.deserialize_unit(visitor),
            _ => {
                let start = self.at;
                let whole = self.number()?.bytes().all(|b| !matches!(b, b'.' | b'e' | b'E'));
                self.at = start;
                if whole { self.integer(visitor) } else { self.fraction(visitor) }
            }
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_bool(self.boolean()?)
    }

    forward! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 => integer
    }

    forward! { deserialize_f32 deserialize_f64 => fraction }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_str(&self.string()?)
    }

    forward! { deserialize_char deserialize_string deserialize_identifier => deserialize_str }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.word("null") { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        if self.word("null") { visitor.visit_unit() } else { Err(self.wrong("null")) }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let mut list = self.entries(b'[', b']')?;
        let value = visitor.visit_seq(&mut list)?;
        list.end().map(|()| value)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let mut object = self.entries(b'{', b'}')?;
        let value = visitor.visit_map(&mut object)?;
        object.end().map(|()| value)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        if self.peek() == Some(b'"') {
            return visitor.visit_enum(Variant { reader: self, content: false });
        }
        let mut object = self.entries(b'{', b'}')?;
        if !object.more()? {
            return Err(object.reader.wrong("a variant"));
        }
        let value = visitor.visit_enum(Variant { reader: object.reader, content: true })?;
        object.end().map(|()| value)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.skip()?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { i128 u128 bytes byte_buf }
}

/// What stands in a list or an object that was opened.
struct Entries<'r, 'de> {
    reader: &'r mut Reader<'de>,
    closing: u8,
    first: bool,
    closed: bool,
}

impl Entries<'_, '_> {
    /// Whether another entry follows; else it is closed.
    #[inline(never)]
    fn more(&mut self) -> Result<bool> {
        if self.closed {
            return Ok(false);
        }
        if self.reader.takes(self.closing) {
            self.reader.depth -= 1;
            self.closed = true;
            return Ok(false);
        }
        if std::mem::take(&mut self.first) || self.reader.takes(b',') {
            Ok(true)
        } else {
            Err(self.reader.wrong("a comma"))
        }
    }

    /// A tuple takes as many entries as it has, and there must be no more.
    #[inline(never)]
    fn end(&mut self) -> Result<()> {
        if self.more()? { Err(self.reader.wrong("fewer entries")) } else { Ok(()) }
    }
}

impl<'de> SeqAccess<'de> for &mut Entries<'_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        if self.more()? { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }
}

impl<'de> MapAccess<'de> for &mut Entries<'_, 'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        if self.more()? { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        self.reader.colon()?;
        seed.deserialize(&mut *self.reader)
    }
}

/// A variant: its name alone, or its name and its content.
struct Variant<'r, 'de> {
    reader: &'r mut Reader<'de>,
    content: bool,
}

impl Variant<'_, '_> {
    fn must_have(&self, content: bool) -> Result<()> {
        if self.content == content { Ok(()) } else { Err(self.reader.wrong("another form of this variant")) }
    }
}

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self)> {
        let name = seed.deserialize(&mut *self.reader)?;
        if self.content {
            self.reader.colon()?;
        }
        Ok((name, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<()> {
        self.must_have(false)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value> {
        self.must_have(true)?;
        seed.deserialize(self.reader)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value> {
        self.must_have(true)?;
        self.reader.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value> {
        self.must_have(true)?;
        self.reader.deserialize_map(visitor)
    }
}

#[cfg(test)]
mod tests;
