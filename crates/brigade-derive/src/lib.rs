//! `#[derive(ShmSafe)]`, `#[brigade::main]` and `#[brigade::test]`, which the crate `brigade`
//! re-exports. Not for use without it.

#![forbid(unsafe_code)]

mod function;

use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Field, Ident, parse_quote};

/// Implements `ShmSafe` for a struct whose fields are all `ShmSafe`, and that does not implement
/// `Drop`.
///
/// What does not qualify is a compile error that points to the field. Enums are refused, for a byte
/// that a peer wrote could be none of their variants: keep an integer, and convert it when it is
/// read. Unions are refused as well. The trait's documentation has an example of each.
#[proc_macro_derive(ShmSafe)]
pub fn shm_safe(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    syn::parse(input)
        .and_then(|input| implement(&input))
        .unwrap_or_else(Error::into_compile_error)
        .into()
}

/// Calls [`init`](https://docs.rs/brigade/latest/brigade/fn.init.html) first in `main`.
#[proc_macro_attribute]
pub fn main(
    arguments: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    function::main(arguments.into(), item.into())
        .unwrap_or_else(Error::into_compile_error)
        .into()
}

/// A `#[test]` that calls [`init`](https://docs.rs/brigade/latest/brigade/fn.init.html) first.
#[proc_macro_attribute]
pub fn test(
    arguments: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    function::test(arguments.into(), item.into())
        .unwrap_or_else(Error::into_compile_error)
        .into()
}

fn implement(input: &DeriveInput) -> Result<TokenStream, Error> {
    let fields: Vec<&Field> = match &input.data {
        Data::Struct(data) => data.fields.iter().collect(),
        Data::Enum(data) => {
            return Err(Error::new(
                data.enum_token.span,
                "an enum cannot be ShmSafe: a peer may leave a byte there that is none of its variants. \
                 Keep an integer (or an atomic one) in the struct, and convert it with `TryFrom` when it is read",
            ));
        }
        Data::Union(data) => {
            return Err(Error::new(
                data.union_token.span,
                "a union cannot be ShmSafe: nothing says which of its fields is there. \
                 Keep the bytes, as `[u8; N]`, and convert them when they are read",
            ));
        }
    };

    let name = &input.ident;
    let parameters: Vec<Ident> = input
        .generics
        .type_params()
        .map(|p| p.ident.clone())
        .collect();
    let mut generics = input.generics.clone();
    let bounds = generics.make_where_clause();
    for parameter in &parameters {
        bounds.predicates.push(parse_quote!(#parameter: 'static));
    }
    // Only the types that depend on a parameter need a bound; the others are checked where `FROZEN`
    // names them.
    for field in fields
        .iter()
        .filter(|f| mentions(f.ty.to_token_stream(), &parameters))
    {
        let ty = &field.ty;
        bounds.predicates.push(syn::parse2(
            quote_spanned!(ty.span()=> #ty: ::brigade::ShmSafe),
        )?);
    }
    let (implementing, of, bounds) = generics.split_for_impl();
    let frozen = fields.iter().map(|field| {
        let ty = &field.ty;
        quote_spanned!(ty.span()=> <#ty as ::brigade::ShmSafe>::FROZEN)
    });
    Ok(quote! {
        // SAFETY: a struct whose fields are all `ShmSafe` (a bound for each), and that does not
        // implement `Drop` (the trait below, which would conflict): its bytes are theirs and
        // padding, which nobody reads as a value.
        #[automatically_derived]
        unsafe impl #implementing ::brigade::ShmSafe for #name #of #bounds {
            const FROZEN: bool = true #(&& #frozen)*;
        }
        #[automatically_derived]
        impl #implementing ::brigade::shm::ShmSafeTypesMustNotImplementDrop for #name #of #bounds {}
    })
}

/// Whether any of these names is in the tokens, however deep. A field that only looks as if gets a
/// bound that it did not need.
fn mentions(tokens: TokenStream, names: &[Ident]) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => names.contains(&ident),
        TokenTree::Group(group) => mentions(group.stream(), names),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}
