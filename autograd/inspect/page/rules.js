const RULES = {}
