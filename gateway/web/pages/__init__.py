"""The pages for people; one module a page. A new page: a module here, a line in gateway/web/routes.py."""
