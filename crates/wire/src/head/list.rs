//! Field values that are comma-separated lists (RFC 9110 §5.6.1), such as the options of `Connection`.

use super::{Field, FieldName};

/// The elements of a list, trimmed, without empty elements (RFC 9110 §5.6.1.2). A comma inside a quoted string splits too:
/// the lists that we read consist of tokens.
#[inline]
pub fn elements(value: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(trim)
        .filter(|element| !element.is_empty())
}

/// The value without leading and trailing spaces and tabs.
#[inline]
pub fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Whether a `Connection` line in `fields` names the field `name`, and `name` is not protected from removal.
pub(super) fn connection_names(fields: &[Field], buffer: &[u8], name: &[u8]) -> bool {
    fields
        .iter()
        .filter(|field| field.id == FieldName::Connection)
        .flat_map(|field| elements(field.value.of(buffer)))
        .any(|option| option.eq_ignore_ascii_case(name))
        && !FieldName::recognise(name).is_protected()
}

#[cfg(test)]
mod tests {
    use super::{elements, trim};

    #[test]
    fn splits_lists_and_drops_empty_elements() {
        let found: Vec<&[u8]> = elements(b" ,close ,\t, keep-alive,, x y ,").collect();
        assert_eq!(found, [&b"close"[..], b"keep-alive", b"x y"]);
        assert_eq!(elements(b" , ,").count(), 0);
    }

    #[test]
    fn trims_spaces_and_tabs_only() {
        assert_eq!(trim(b" \ta b\t "), b"a b");
        assert_eq!(trim(b"\x0ba\xa0"), b"\x0ba\xa0");
        assert_eq!(trim(b" \t"), b"");
    }
}
