"""From a recipe to steps: the recipe, its runs, the plan, and what is published in the end."""
