"""From rows in many languages to rows beside their English."""
