"""Items from STAC APIs and from static catalogs on the web: politely, completely, resumably."""
