//! Parts of forms.

use maud::{Markup, html};

use super::context::PageContext;

/// The hidden field without which a form is refused.
pub(crate) fn token(context: &PageContext<'_>) -> Markup {
    html! { input type="hidden" name="csrf_token" value=(context.viewer.csrf_token); }
}

/// A button that asks first: a link to the confirmation, which the script shows as a dialog.
pub(crate) fn asks(href: &str, class: &str, label: &str, test: &str) -> Markup {
    html! { a class={ "button " (class) } href=(href) data-dialog data-test=(test) role="button" { (label) } }
}
