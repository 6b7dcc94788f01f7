"""OpenAI's API: one file per endpoint family, its bodies (`protocol`) and the forms of its answers (`*_shape`)."""
