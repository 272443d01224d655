"""Every annotated shape and type of kennel is checked while the tests run."""

from jaxtyping import install_import_hook

install_import_hook("kennel", "beartype.beartype")
